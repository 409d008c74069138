"""Choices of the machine: measured once, recorded, and taken from the record on resume."""

import json
import time
from pathlib import Path

import pytest
import torch

from triad.hardware import execution, precision
from triad.hardware.autotune import Measured
from triad.hardware.device import compute_dtype
from triad.hardware.execution import Hardware
from triad.hardware.precision import recurrent_to_fp32


def slow() -> None:
    time.sleep(0.003)


def fast() -> None:
    pass


def never() -> None:
    raise AssertionError("measured again")


def recurrent(vocab_size: int) -> torch.nn.LSTM:
    return torch.nn.LSTM(4, 4, batch_first=True)


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


@pytest.mark.parametrize("has_kernels", [True, False])
def test_recurrent_layers_are_computed_in_fp32_where_the_precision_has_no_kernel_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_kernels: bool
) -> None:
    monkeypatch.setattr(execution, "has_recurrent_kernels", lambda device, precision: has_kernels)
    measured = Measured(tmp_path / "cache", tmp_path / "run" / "machine.json", torch.device("cpu"))
    hardware = Hardware(None, None, "flash", False, False)
    hardware.settle(measured, lambda _: "bf16-mixed", recurrent, 2, 4)
    recorded = json.loads(measured.record.read_text())["recurrent layers"]["choice"]
    assert recorded == ("bf16-mixed" if has_kernels else "32-true")
    assert hardware.recurrent_fp32 == (not has_kernels)
    # a resumed run goes on as it began, also where there are kernels
    monkeypatch.setattr(execution, "has_recurrent_kernels", lambda device, precision: True)
    resumed = Hardware(None, None, "flash", False, False)
    resumed.settle(measured, lambda _: "bf16-mixed", recurrent, 2, 4)
    assert resumed.recurrent_fp32 == hardware.recurrent_fp32


def test_recurrent_layers_in_fp32_compute_under_autocast_what_they_compute_without() -> None:
    layer, x, state = recurrent(2), torch.ones(1, 3, 4), (torch.ones(1, 1, 4), torch.ones(1, 1, 4))
    first, exact = layer(x)[0], layer(x, state)[0]
    recurrent_to_fp32(layer)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x.bfloat16())[0], first)
        assert torch.equal(layer(x, (state[0].bfloat16(), state[1]))[0], exact)


@pytest.mark.parametrize(("model", "precision"), [("recurrent", "32-true"), ("linear", "bf16-mixed")])
def test_nothing_is_recorded_of_recurrent_layers_where_there_are_none_or_all_is_fp32(
    tmp_path: Path, model: str, precision: str
) -> None:
    measured = Measured(tmp_path / "cache", tmp_path / "run" / "machine.json", torch.device("cpu"))
    hardware = Hardware(None, None, "flash", False, False)
    make = recurrent if model == "recurrent" else lambda vocab_size: torch.nn.Linear(4, 4)
    hardware.settle(measured, lambda _: precision, make, 2, 4)
    assert not hardware.recurrent_fp32
    assert "recurrent layers" not in json.loads(measured.record.read_text())


def test_a_micro_batch_is_never_larger_than_the_batch() -> None:
    rows = torch.zeros(5, 3)
    assert Hardware(None, None, "flash", False, False).rows(rows) == 5
    assert Hardware(2, None, "flash", False, False).rows(rows) == 2
    assert Hardware(9, None, "flash", False, False).rows(rows) == 5
    with pytest.raises(ValueError, match="micro_batch_size=0"):
        Hardware(0, None, "flash", False, False)
