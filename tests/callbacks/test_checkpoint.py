"""The callback that saves and resumes; tests/checkpoints has what is saved."""

from pathlib import Path
from threading import Event, Thread
from typing import Any

from triad.callbacks.checkpoint import Checkpoint
from triad.checkpoints.saving import LEAVING_S, Saver
from triad.runs.directory import Run


def test_a_run_that_ends_on_an_error_waits_for_the_save_under_way(tmp_path: Path) -> None:
    callback = Checkpoint(
        Run(tmp_path), {}, every_steps=1, every_minutes=None, keep=1, monitor="val/loss", grace_s=30
    )
    trainer: Any = None
    callback.on_exception(trainer, None, ValueError())  # before training there is nothing to wait for
    callback.saver, waited, saved = Saver(keep=1), [], Event()

    class Writing(Thread):
        def join(self, timeout: float | None = None) -> None:
            waited.append(timeout)
            saved.set()
            super().join(timeout)

    callback.saver.thread = Writing(target=saved.wait, daemon=True)
    callback.saver.thread.start()
    callback.on_exception(trainer, None, ValueError())
    assert waited == [LEAVING_S]
    assert not callback.saver.thread.is_alive()
