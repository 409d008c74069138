"""The record of truth."""

import csv
import os
import tracemalloc
from pathlib import Path

import pytest

from triad.config.messages import DISK, choose_exit_code
from triad.loggers import csv as csv_logger
from triad.loggers.csv import CSV
from triad.runs.directory import Run
from triad.runs.metrics import read_metrics


def test_what_is_logged_is_read_back_with_columns_that_come_later(tmp_path: Path) -> None:
    logger = CSV(Run(tmp_path))
    logger.log_metrics({"a": 1.5}, step=1)
    logger.log_metrics({"a": 2.5, "epoch": 0}, step=2)
    logger.log_metrics({"b": 3.0}, step=2)
    logger.log_metrics({"a": 4.0}, step=3)
    rows = [{"step": 1, "a": 1.5}, {"step": 2, "a": 2.5, "b": 3.0}, {"step": 3, "a": 4.0}]
    assert read_metrics(tmp_path / "metrics.csv") == rows


def test_a_resumed_run_writes_its_steps_anew_and_keeps_the_earlier_ones(tmp_path: Path) -> None:
    first = CSV(Run(tmp_path))
    for step in (1, 2, 3, 4):
        first.log_metrics({"loss": step * 1.0, "val": 0.5}, step=step)
    resumed = CSV(Run(tmp_path))
    resumed.log_metrics({"loss": 30.0}, step=3)
    resumed.log_metrics({"loss": 40.0}, step=4)
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [row["loss"] for row in rows] == [1.0, 2.0, 30.0, 40.0]
    assert rows[0]["val"] == 0.5


def test_a_line_cut_short_by_a_kill_does_not_hurt(tmp_path: Path) -> None:
    logger = CSV(Run(tmp_path))
    logger.log_metrics({"a": 1.0, "b": 2.0}, step=1)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("2,3.")
    assert read_metrics(tmp_path / "metrics.csv")[0] == {"step": 1, "a": 1.0, "b": 2.0}
    resumed = CSV(Run(tmp_path))
    resumed.log_metrics({"a": 9.0}, step=2)
    assert read_metrics(tmp_path / "metrics.csv")[-1] == {"step": 2, "a": 9.0}


def test_every_row_is_on_disk_when_it_is_logged(tmp_path: Path) -> None:
    logger = CSV(Run(tmp_path))
    for step in range(1, 4):
        logger.log_metrics({"a": 1.0}, step=step)
        assert len(read_metrics(tmp_path / "metrics.csv")) == step


def test_what_is_added_to_the_last_row_takes_its_place_and_the_file_is_not_written_anew(
    tmp_path: Path,
) -> None:
    logger = CSV(Run(tmp_path))
    logger.log_metrics({"a": 1.0, "b": 12345.0}, step=1)
    logger.log_metrics({"a": 2.0}, step=2)
    file = (tmp_path / "metrics.csv").stat().st_ino
    logger.log_metrics({"b": 3.0}, step=2)
    logger.log_metrics({"a": 12345.0, "b": 6.0}, step=3)
    logger.log_metrics({"a": 7.0}, step=3)  # shorter than what it replaces
    logger.log_metrics({"a": 8.0}, step=4)
    rows = [(1.0, 12345.0), (2.0, 3.0), (7.0, 6.0), (8.0, None)]
    assert [(row["a"], row.get("b")) for row in read_metrics(tmp_path / "metrics.csv")] == rows
    assert (tmp_path / "metrics.csv").stat().st_ino == file


def test_memory_does_not_grow_with_the_steps_nor_with_columns_that_come_late(tmp_path: Path) -> None:
    logger = CSV(Run(tmp_path))
    loads = {f"load/{layer}/{expert}": 1 / 3 for layer in range(16) for expert in range(8)}
    logger.log_metrics(loads, step=1)
    tracemalloc.start()
    for step in range(2, 2000):
        logger.log_metrics(loads | ({"val/loss": 2.0} if step > 1000 else {}), step=step)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = (tmp_path / "metrics.csv").stat().st_size
    assert size > 4e6
    assert peak < 0.3e6
    with (tmp_path / "metrics.csv").open(newline="") as file:
        header, *rows = csv.reader(file, strict=True)
    assert header == ["step", *loads, "val/loss"]
    assert [len(row) for row in rows] == [len(header)] * 1999
    assert [row[-1] for row in rows] == [""] * 1000 + ["2.0"] * 999


def test_rows_that_a_kill_damaged_are_dropped_by_a_resumed_run_and_no_others(tmp_path: Path) -> None:
    lines = ["step,a,b", "1,1.0,", "2,2.0,0.5", "3,x,", "3,1.0,,2.0", "3,3.0", "4,4.0,", "5,5."]
    (tmp_path / "metrics.csv").write_text("\r\n".join(lines))
    CSV(Run(tmp_path)).log_metrics({"a": 40.0, "c": 7.0}, step=4)
    expected = ["step,a,b,c", "1,1.0,,", "2,2.0,0.5,", "3,3.0,,", "4,40.0,,7.0", ""]
    assert (tmp_path / "metrics.csv").read_bytes().decode().split("\r\n") == expected


def test_a_column_that_comes_with_what_is_added_to_the_last_row_is_there_once(tmp_path: Path) -> None:
    logger = CSV(Run(tmp_path))
    for step in (1, 2):
        logger.log_metrics({"a": float(step)}, step=step)
    logger.log_metrics({"b": 3.0}, step=2)
    logger.log_metrics({"a": 4.0, "b": 5.0}, step=2)
    assert (tmp_path / "metrics.csv").read_text() == "step,a,b\n1,1.0,\n2,4.0,5.0\n"


def test_nothing_is_written_through_a_symbolic_link(tmp_path: Path) -> None:
    target, file = tmp_path / "precious", tmp_path / "metrics.csv"
    target.write_text("step,a\r\n1,1.0\r\n")
    file.symlink_to(target)
    logger = CSV(Run(tmp_path))
    logger.log_metrics({"a": 2.0}, step=2)  # the file is written anew, in the link's place
    assert not file.is_symlink()
    file.unlink()
    file.symlink_to(target)
    with pytest.raises(OSError, match=r"metrics\.csv: is a symbolic link"):
        logger.log_metrics({"a": 3.0}, step=3)
    assert target.read_text() == "step,a\n1,1.0\n"


def test_a_disk_that_is_full_is_named_by_the_file_that_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = CSV(Run(tmp_path))
    logger.log_metrics({"a": 1.0}, step=1)
    (tmp_path / "metrics.csv").unlink()
    monkeypatch.setattr(csv_logger, "open_in_place", lambda path, flags: os.open("/dev/full", os.O_RDWR))
    with pytest.raises(OSError, match=r"No space left on device: '.*metrics\.csv'") as raised:
        logger.log_metrics({"a": 2.0}, step=2)
    assert choose_exit_code(raised.value) == DISK
