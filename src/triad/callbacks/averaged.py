"""Validation with weights that the optimizer averages by itself."""

from typing import Any

from lightning.pytorch import Callback, Trainer
from torch import Tensor

from triad.callbacks.ema import exchange, read_weights


class Averaged(Callback):
    """Validate with the average that an optimizer with a method `average` keeps: optimizer=schedule_free.

    val/loss and the samples are the average's. It is in the checkpoints, beside the weights that are trained:
    `export` and `generate` take it with weights=average. Training goes on with the very same numbers. Buffers
    are copied.
    """

    replaces = "weights"  # in validation
    shows = "average"
    needs = {"optimizer.averages": (True,)}
    checkpoint_key = "average"  # its name in a checkpoint

    def weights(self, task: Any) -> dict[str, Tensor]:
        """The average, by parameter name."""
        optimizer = task.trainer.optimizers[0]
        learned = dict(task.model.named_parameters(remove_duplicate=False))
        return {
            name: optimizer.average(learned[name]) if name in learned else tensor.detach().clone()
            for name, tensor in read_weights(task).items()
        }

    def on_validation_start(self, trainer: Trainer, task: Any) -> None:
        self.average = self.weights(task)
        exchange(self.average, task)

    def on_validation_end(self, trainer: Trainer, task: Any) -> None:
        exchange(self.average, task)
        del self.average
