"""The pace is that of steps behind the warm-up, and one clock ends the probe in every process."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from triad.callbacks.pace import WARM_UP, Pace
from triad.runs.directory import Run


@pytest.mark.parametrize("first", [True, False])
def test_steps_a_second_are_counted_behind_the_warm_up(tmp_path: Path, monkeypatch, first: bool) -> None:
    clock = [0.0]
    monkeypatch.setattr("triad.callbacks.pace.time.perf_counter", lambda: clock[0])
    told: list[bool] = []

    def broadcast(value: bool) -> bool:
        told.append(value)
        return len(told) == 4 if not first else value  # the first process's clock, not one's own

    strategy = SimpleNamespace(broadcast=broadcast)
    trainer: Any = SimpleNamespace(global_step=0, should_stop=False, is_global_zero=first, strategy=strategy)
    pace = Pace(Run(tmp_path), seconds=2.0)
    outputs = {"shares": {"train/loss": torch.tensor(1.0)}}
    while not trainer.should_stop:
        trainer.global_step += 1
        clock[0] += 100.0 if trainer.global_step <= WARM_UP else 0.25
        pace.on_train_batch_end(trainer, None, outputs, {})
    assert trainer.global_step == WARM_UP + 8
    assert told[:3] == [False] * 3  # after 1, 2 and 4 steps
    assert Run(tmp_path).result() == ({"steps_per_s": 4.0} if first else None)
