"""Validation with weights that the optimizer averages by itself."""

from typing import Any

from lightning.pytorch import Callback, Trainer
from torch import Tensor

from triad.callbacks.ema import copy_widened, read_weights, replace_weights


class Averaged(Callback):
    """Validate with the average that an optimizer with a method `average` keeps: optimizer=schedule_free.

    val/loss and the samples are the average's. It is in the checkpoints, beside the weights that are trained,
    and `export`, `generate` and `load` take it. Training goes on with the very same numbers. Buffers are
    copied.
    """

    replaces = "weights"  # in validation
    shows = "average"
    needs = {"optimizer.averages": (True,)}
    checkpoint_key = "average"  # its name in a checkpoint

    def weights(self, training: Any) -> dict[str, Tensor]:
        """The average, by parameter name."""
        optimizer = training.trainer.optimizers[0]
        learned = dict(training.model.named_parameters(remove_duplicate=False))
        return {
            name: optimizer.average(learned[name]) if name in learned else copy_widened(tensor)
            for name, tensor in read_weights(training).items()
        }

    def on_validation_start(self, trainer: Trainer, training: Any) -> None:
        self.trained = replace_weights(self.weights(training), training)

    def on_validation_end(self, trainer: Trainer, training: Any) -> None:
        replace_weights(self.trained, training)
        del self.trained
