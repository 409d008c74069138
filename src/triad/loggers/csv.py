"""The record of truth: every figure of a run in one CSV file."""

import csv
import io
import math
import os
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from triad.runs.directory import Run
from triad.storage.durable import name_file, open_in_place, replacing


class CSV(Logger):
    """Write metrics.csv in the run directory: a row per step, a column per metric, empty where not measured.

    A resumed run drops the rows at or after the step it continues from, so that the file reads like that of
    an uninterrupted run. Rows are flushed as they are written: a killed run keeps them. Only the last row is
    held in memory; where a column is new, the file is copied line by line.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.path = run.metrics_file
        self.columns: dict[str, None] = {}  # a dictionary, for its order and to look them up
        self.row: dict[str, Any] = {}  # the last one
        self.last = 0  # where in the file it begins

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return self.path.parent.name

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The run directory has the configuration already."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        assert step is not None
        row: dict[str, Any] = {"step": step, **metrics}
        row.pop("epoch", None)  # Lightning's own addition
        if merged := self.row.get("step") == step:
            row = self.row | row
        if not self.columns:
            self.columns = dict.fromkeys(columns := _read_columns(self.path) or ["step"])
            if not any(key.startswith("train/") for key in row):  # a validation that an earlier process left
                row = _read_row(self.path, step, columns) | row
            self._copy(row, lambda line, _: _read_step(line, len(columns)) < step)
        elif row.keys() - self.columns.keys():
            self._copy(row, lambda _, at: not merged or at < self.last)
        else:
            self._write(row, anew=merged)
        self.row = row

    def _write(self, row: dict[str, Any], anew: bool) -> None:
        # unbuffered, so that a row is on disk or not, whenever the process is killed
        with name_file(self.path), open(self.path, "r+b", buffering=0, opener=open_in_place) as file:
            self.last = file.seek(self.last) if anew else file.seek(0, os.SEEK_END)
            file.write(_format_line([row.get(column) for column in self.columns]))
            file.truncate()

    def _copy(self, row: dict[str, Any], keep: Callable[[bytes, int], bool]) -> None:
        """Write the file anew with the columns of a row, the old lines to keep, and the row.

        `keep` is asked of each line and the place where it begins.
        """
        self.columns |= dict.fromkeys(row)
        with replacing(self.path) as file:
            file.write(_format_line(self.columns))
            for at, line in _read_lines(self.path):
                if keep(line, at):
                    empty = b"," * (len(self.columns) - 1 - line.count(b","))
                    file.write(line.rstrip(b"\r\n") + empty + b"\r\n")
            self.last = file.tell()
            file.write(_format_line([row.get(column) for column in self.columns]))


def _format_line(cells: Iterable[Any]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()


def _read_columns(path: Path) -> list[str]:
    """The names in the first line of a file, if there is one."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file), [])


def _read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file behind the first, each with the place where it begins."""
    if path.exists():
        with path.open("rb") as file:
            at = len(file.readline())
            for line in file:
                yield at, line
                at += len(line)


def _read_row(path: Path, step: int, columns: list[str]) -> dict[str, Any]:
    """The cells of a step, as they were written."""
    found = (line for _, line in _read_lines(path) if _read_step(line, len(columns)) == step)
    cells = next(csv.reader([line.decode() for line in found]), [])
    return {column: cell for column, cell in zip(columns, cells, strict=False) if cell}


def _read_step(line: bytes, columns: int) -> float:
    """The step of a row; infinity where it is cut short or has been damaged."""
    cells = line.rstrip(b"\r\n").split(b",")
    try:
        numbers = [float(cell) for cell in cells if cell]
    except ValueError:
        return math.inf
    whole = line.endswith(b"\n") and len(cells) <= columns and cells[0]
    return numbers[0] if whole else math.inf
