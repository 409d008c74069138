"""A learning rate that falls when validation no longer improves."""

from typing import Annotated, Any

import torch
from lightning.pytorch import Callback, Trainer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from triad.schedules.learning_rate import Begin, Time, UnitInterval, constant


class Plateau(Callback):
    """Multiply the rate by `factor` when `monitor` has not improved for more than `patience` validations.

    A schedule with state: called with a step it returns the multiplier, which it changes after validations.
    It uses torch's ReduceLROnPlateau, whose state is saved in checkpoints like that of every callback. The
    metrics of a validation are equal on all processes, and so are the rates. The task declares in which
    direction the metric is better.
    """

    def __init__(
        self,
        steps: int,
        warmup: Time,
        monitor: str,
        factor: Annotated[float, "> 0", "< 1"],
        patience: Annotated[int, ">= 0"],
        threshold: Annotated[float, ">= 0"],
        final: UnitInterval,
        from_: Begin = 0,
    ) -> None:
        if not 0 < factor < 1 or patience < 0:
            raise ValueError(
                f"scheduler.factor={factor} patience={patience}: between 0 and 1, and at least 0"
            )
        self.steps, self.warmup, self.begin, self.monitor = steps, warmup, from_, monitor
        self.rate = torch.optim.SGD([torch.zeros(())], lr=1.0)  # it lowers the rate of an optimizer
        self.watch = ReduceLROnPlateau(
            self.rate, factor=factor, patience=patience, threshold=threshold, min_lr=final
        )

    def __call__(self, step: int) -> float:
        return constant(step, self.steps, self.warmup, self.begin) * self.rate.param_groups[0]["lr"]

    def setup(self, trainer: Trainer, training: Any, stage: str) -> None:
        if training.direction(self.monitor) == "higher":
            self.watch.mode, self.watch.best = "max", -torch.inf

    def on_validation_end(self, trainer: Trainer, training: Any) -> None:
        self.watch.step(float(trainer.callback_metrics[self.monitor]))

    def state_dict(self) -> dict[str, Any]:
        return {
            "best": self.watch.best,
            "waited": self.watch.num_bad_epochs,
            "multiplier": self.rate.param_groups[0]["lr"],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.watch.best, self.watch.num_bad_epochs = state_dict["best"], state_dict["waited"]
        self.rate.param_groups[0]["lr"] = state_dict["multiplier"]
