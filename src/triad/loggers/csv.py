"""The record of truth: every figure of a run in one CSV file."""

import csv
import os
from argparse import Namespace
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from triad.runs.directory import Run
from triad.runs.metrics import read_metrics


class CSV(Logger):
    """Write metrics.csv in the run directory: a row per step, a column per metric, empty where not measured.

    A resumed run drops the rows at or after the step it continues from, so that the file reads like that of
    an uninterrupted run. Rows are flushed as they are written: a killed run keeps them.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.path = run.metrics_file
        self.rows: list[dict[str, Any]] | None = None
        self.columns = {"step": None}  # a dictionary, for its order and to look them up
        self.last = 0  # where in the file the last row begins

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
        fresh = self.rows is None
        if self.rows is None:
            self.rows = [old for old in read_metrics(self.path) if old["step"] < step]
        if merged := bool(self.rows) and self.rows[-1]["step"] == step:
            self.rows[-1] |= row
        else:
            self.rows.append(row)
        new = [key for old in (self.rows if fresh else [row]) for key in old if key not in self.columns]
        self.columns |= dict.fromkeys(new)
        if fresh or new:
            self._rewrite(self.rows)
        else:
            self._write_last(self.rows[-1], anew=merged)

    def _write_last(self, row: dict[str, Any], anew: bool) -> None:
        with self.path.open("r+", newline="", encoding="utf-8") as file:
            self.last = file.seek(self.last) if anew else file.seek(0, os.SEEK_END)
            csv.DictWriter(file, list(self.columns)).writerow(row)
            file.truncate()

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        beside = self.path.with_suffix(".tmp")
        with beside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(self.columns))
            writer.writeheader()
            writer.writerows(rows[:-1])
            self.last = file.tell()
            writer.writerow(rows[-1])
        beside.replace(self.path)
