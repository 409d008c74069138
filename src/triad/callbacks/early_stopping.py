"""Ending a run that no longer improves."""

from typing import Any

import torch
from lightning.pytorch import Trainer, callbacks

from triad.layers.ranges import NonNegativeFloat, NonNegativeInt


class EarlyStopping(callbacks.EarlyStopping):
    """Stop when `monitor` has not improved by `min_delta` for `patience` validations.

    Lightning's EarlyStopping; whether lower or higher is better follows from the metric.
    """

    def __init__(self, monitor: str, patience: NonNegativeInt, min_delta: NonNegativeFloat) -> None:
        super().__init__(monitor, min_delta, patience)

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        if pl_module.direction(self.monitor) == "higher":
            self.mode, self.min_delta, self.best_score = "max", abs(self.min_delta), torch.tensor(-torch.inf)
        super().setup(trainer, pl_module, stage)

    @property
    def stop_reason(self) -> str:
        """Why it has stopped the run, if it has: Lightning's sentence."""
        sentence = (self.stopping_reason_message or "").removesuffix(" Signaling Trainer to stop.")
        return sentence and f"callbacks.early_stopping: {sentence}"
