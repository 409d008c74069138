"""Choices of the machine: measured once, recorded, and taken from the record on resume."""

import json
import time
from pathlib import Path

import pytest
import torch

from triad.hardware import precision
from triad.hardware.autotune import Measured
from triad.hardware.device import compute_dtype
from triad.hardware.execution import Hardware


def slow() -> None:
    time.sleep(0.003)


def fast() -> None:
    pass


def never() -> None:
    raise AssertionError("measured again")


def test_the_fastest_is_chosen_and_measured_once_per_machine(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    first = Measured(tmp_path / "cache", tmp_path / "run-1" / "machine.json", cpu)
    assert first.fastest("which?", {"slow": slow, "fast": fast}) == "fast"
    second = Measured(tmp_path / "cache", tmp_path / "run-2" / "machine.json", cpu)
    assert second.fastest("which?", {"slow": never, "fast": never}) == "fast"


def test_a_resumed_run_keeps_its_choice_whatever_the_machine_says_now(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    Measured(tmp_path / "cache", tmp_path / "run" / "machine.json", cpu).fastest(
        "which?", {"slow": slow, "fast": fast}
    )
    record = tmp_path / "run" / "machine.json"
    recorded = json.loads(record.read_text())
    recorded["which?"]["choice"] = "slow"
    record.write_text(json.dumps(recorded))
    again = Measured(tmp_path / "cache", tmp_path / "run" / "machine.json", cpu)
    assert again.fastest("which?", {"slow": never, "fast": never}) == "slow"


def test_a_damaged_record_is_measured_again(tmp_path: Path) -> None:
    measured = Measured(tmp_path / "cache", tmp_path / "run" / "machine.json", torch.device("cpu"))
    measured.fastest("which?", {"slow": slow, "fast": fast})
    measured.cache.write_text("{")
    measured.record.write_text("")
    assert measured.fastest("which?", {"slow": slow, "fast": fast}) == "fast"


def test_automatic_precision_is_one_that_lightning_knows(tmp_path: Path) -> None:
    measured = Measured(tmp_path / "cache", tmp_path / "run" / "machine.json", torch.device("cpu"))
    chosen = precision.auto(measured)
    assert chosen in ("32-true", "bf16-mixed")
    assert compute_dtype(chosen) in (torch.float32, torch.bfloat16)


def test_a_micro_batch_is_never_larger_than_the_batch() -> None:
    rows = torch.zeros(5, 3)
    assert Hardware(None, None, "flash", False, False).rows(rows) == 5
    assert Hardware(2, None, "flash", False, False).rows(rows) == 2
    assert Hardware(9, None, "flash", False, False).rows(rows) == 5
    with pytest.raises(ValueError, match="micro_batch_size=0"):
        Hardware(0, None, "flash", False, False)
