"""Counters of energy, read from what stands in for the machine's."""

from pathlib import Path

import pytest
import torch

from triad.hardware import energy_meters as meters


def zone(powercap: Path, name: str, says: str, microjoules: int) -> Path:
    """One counter as Linux shows it."""
    folder = powercap / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{says}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text("9999999\n")
    return folder / "energy_uj"


def test_processor_packages_are_summed_and_parts_of_them_are_not_counted_twice(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 5_000_000)
    core = zone(tmp_path, "intel-rapl:0:0", "core", 0)
    board = zone(tmp_path, "intel-rapl:2", "psys", 0)
    read = meters.open_rapl(tmp_path)
    assert read
    before = read()
    for counter, microjoules in ((first, 3_000_000), (second, 6_500_000), (core, 7_000), (board, 8_000_000)):
        counter.write_text(f"{microjoules}\n")
    assert read() - before == 3.5


def test_a_counter_that_starts_again_from_nothing_goes_on_counting(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 9_000_000)
    read = meters.open_rapl(tmp_path)
    assert read
    counter.write_text("1000000\n")
    assert read() == 2.0
    counter.write_text("4000000\n")
    assert read() == 5.0


def test_no_counter_and_one_that_cannot_be_read_are_no_meter(tmp_path: Path) -> None:
    assert meters.open_rapl(tmp_path / "nowhere") is None
    zone(tmp_path, "intel-rapl:0", "package-0", 0).unlink()
    assert meters.open_rapl(tmp_path) is None


def test_one_process_of_a_machine_answers_for_its_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    monkeypatch.setattr(meters, "POWERCAP", tmp_path)
    found = [meters.open_meter(torch.device("cpu"), first_here) for first_here in (True, False)]
    counter.write_text("2000000\n")
    assert [read() for read in found if read] == [2.0, 0.0]
    monkeypatch.setattr(meters, "POWERCAP", tmp_path / "nowhere")
    assert [meters.open_meter(torch.device("cpu"), first_here) for first_here in (True, False)] == [
        None,
        None,
    ]
