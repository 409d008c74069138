"""The pace of training: steps a second, measured before a run whose length is a time."""

import time
from typing import Any

from lightning.pytorch import Callback, Trainer

from triad.runs.directory import Run

WARM_UP = 3  # steps that compile and allocate


class Pace(Callback):
    """Time training for `seconds` or more, write the steps per second to result.json and end the run.

    The clock is read after 1, 2, 4, 8 ... steps behind the warm-up, so that no other step waits for the
    device. That of the first process decides for all.
    """

    def __init__(self, run: Run, seconds: float) -> None:
        self.run, self.seconds, self.stop_reason = run, seconds, ""

    def on_train_batch_end(self, trainer: Trainer, training: Any, outputs: Any, *_: Any) -> None:
        steps = trainer.global_step - WARM_UP
        if steps < 0 or steps & (steps - 1):
            return
        float(outputs["shares"]["train/loss"])  # waits for the device
        if not steps:
            self.start = time.perf_counter()
            return
        spent_s = time.perf_counter() - self.start
        if trainer.strategy.broadcast(spent_s >= self.seconds):
            trainer.should_stop, self.stop_reason = True, f"callbacks.pace.seconds={self.seconds:g}"
            if trainer.is_global_zero:
                self.run.finish({"steps_per_s": steps / spent_s})
