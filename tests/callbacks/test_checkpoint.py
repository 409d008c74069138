"""The callback that saves and resumes; tests/checkpoints has what is saved."""

from inspect import signature
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, callbacks

from triad.callbacks.checkpoint import Checkpoint, restore_memory
from triad.callbacks.early_stopping import EarlyStopping
from triad.callbacks.ema import Ema
from triad.callbacks.energy import Energy
from triad.callbacks.swa import Swa
from triad.checkpoints.saving import LEAVING_S, Saver
from triad.runs.directory import Run
from triad.runs.metrics import read_metrics
from triad.schedules.plateau import Plateau

TINY = ("debug=tiny", "trainer.accelerator=cpu", "precision=fp32", "run_id=a")


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


@pytest.mark.parametrize(
    ("kind", "before", "now"),
    [
        (EarlyStopping, ("val/loss", 1, 0.0), ("val/loss", 50, 0.1)),
        (callbacks.EarlyStopping, ("val/loss", 0.0, 1), ("val/loss", 0.1, 50)),
        (Ema, (0.9,), (0.99,)),
        (Swa, (0.5, 2), (0.75, 10)),
        (Energy, (400.0, 12.0, None), (300.0, 10.0, 2.0)),
        (Plateau, (100, 0, "val/loss", 0.5, 3, 0.0, 0.0), (200, 5, "val/loss", 0.1, 9, 0.1, 0.01)),
    ],
)
def test_what_was_configured_stays_when_a_callback_gets_its_memory_back(
    kind: type[Callback], before: tuple, now: tuple
) -> None:
    old, resumed, fresh = kind(*before), kind(*now), kind(*now)
    restore_memory(resumed, old.state_dict())
    configured = signature(kind).parameters.keys() & vars(fresh).keys()
    assert configured
    assert {name: getattr(resumed, name) for name in configured} == {
        name: getattr(fresh, name) for name in configured
    }


def test_what_a_callback_remembers_comes_back_beside_what_was_configured() -> None:
    old, resumed = EarlyStopping("val/loss", 1, 0.0), EarlyStopping("val/loss", 50, 0.0)
    old.wait_count, old.best_score = 1, torch.tensor(2.5)
    restore_memory(resumed, old.state_dict())
    assert (resumed.wait_count, float(resumed.best_score), resumed.patience) == (1, 2.5, 50)


def test_a_patience_typed_at_a_resume_holds(train, tmp_path: Path) -> None:
    stop = ("callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=1", "optimizer.lr=0.0")
    train(*TINY, *stop, "trainer.max_steps=30", "~callbacks.sample", "trainer.limit_val_batches=1")
    assert _last_step(tmp_path) == 10
    train("resume=outputs/a", "callbacks.early_stopping.patience=50")
    assert _last_step(tmp_path) == 30


def _last_step(folder: Path) -> int:
    return int(read_metrics(Run(folder / "outputs" / "a").metrics_file)[-1]["step"])
