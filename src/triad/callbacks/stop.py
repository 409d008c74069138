"""Ending a run at a step before trainer.max_steps."""

from typing import Any

from lightning.pytorch import Callback, Trainer


class Stop(Callback):
    """End the run after `step`; its schedules still span trainer.max_steps. `triad.replay` uses it."""

    def __init__(self, step: int) -> None:
        self.step, self.stop_reason = step, ""

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step >= self.step:
            trainer.should_stop, self.stop_reason = True, f"callbacks.stop.step={self.step}"
