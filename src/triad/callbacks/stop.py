"""Ending a run early, as if it had gone on."""

from typing import Any

from lightning.pytorch import Callback, Trainer


class Stop(Callback):
    """End the run behind a step, though its schedules are for trainer.max_steps. `triad.replay` uses it."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step >= self.step:
            trainer.should_stop = True
