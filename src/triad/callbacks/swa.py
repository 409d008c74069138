"""The plain mean of the weights at many steps of the end of a run."""

from typing import Any

from lightning.pytorch import Callback, Trainer
from torch import Tensor

from triad.callbacks.ema import copy_weights, move_averages, replace_weights
from triad.layers.ranges import PositiveInt, UnitInterval


class Swa(Callback):
    """Average the weights of every `every_steps` steps of the last part of a run, and validate with the mean.

        w_SWA <- (w_SWA n + w) / (n + 1)        Izmailov et al. 2018, arXiv:1803.05407, algorithm 1

    `start` is the fraction of the run at which averaging begins; a constant or cyclical rate from there on
    is the paper's (scheduler=constant). Each process averages the shards it holds, in fp32 where weights are
    narrower. The mean is in the checkpoints, beside the weights, and `export`, `generate` and `load` take it;
    until it begins it equals the weights. Buffers are copied. Not Lightning's StochasticWeightAveraging,
    which swaps the schedule, too.
    """

    replaces = "weights"  # in validation
    uses = ("weights",)
    checkpoint_key = "swa"  # its name in a checkpoint

    def __init__(self, start: UnitInterval, every_steps: PositiveInt) -> None:
        if not 0 <= start < 1 or every_steps < 1:
            raise ValueError(
                f"callbacks.swa: start={start} every_steps={every_steps}: a fraction of the run; at least 1"
            )
        self.start, self.every_steps = start, every_steps
        self.averaged = 0  # weights in the mean
        self.mean: dict[str, Tensor] | None = None  # until training starts, or a checkpoint is loaded

    def state_dict(self) -> dict[str, Any]:
        return {"averaged": self.averaged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.averaged = state_dict["averaged"]

    def weights(self, training: Any) -> dict[str, Tensor]:
        """The mean, by parameter name."""
        if self.mean is None:
            self.mean = copy_weights(training)
        elif not self.averaged:
            move_averages(self.mean, training, 1.0)
        return self.mean

    def on_train_start(self, trainer: Trainer, training: Any) -> None:
        self.weights(training)

    def on_train_batch_end(self, trainer: Trainer, training: Any, *_: Any) -> None:
        step = trainer.global_step
        if step > self.start * trainer.max_steps and step % self.every_steps == 0:
            mean = self.weights(training)
            self.averaged += 1
            move_averages(mean, training, 1 / self.averaged)

    def on_validation_start(self, trainer: Trainer, training: Any) -> None:
        self.trained = replace_weights(self.weights(training), training)

    def on_validation_end(self, trainer: Trainer, training: Any) -> None:
        replace_weights(self.trained, training)
        del self.trained
