"""The record of truth: every figure of a run in one CSV file."""

import csv
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from triad.figures import read


class CSV(Logger):
    """Write metrics.csv in the run directory: a row per step, a column per metric, empty where not measured.

    A resumed run drops the rows at or after the step it continues from, so that the file reads like that of
    an uninterrupted run. Rows are flushed as they are written: a killed run keeps them.
    """

    def __init__(self, run: Path) -> None:
        super().__init__()
        self.path = run / "metrics.csv"
        self.rows: list[dict[str, Any]] | None = None
        self.columns = ["step"]

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
            self.rows = [old for old in read(self.path) if old["step"] < step]
        if merged := bool(self.rows) and self.rows[-1]["step"] == step:
            self.rows[-1] |= row
        else:
            self.rows.append(row)
        new = [key for old in (self.rows if fresh else [row]) for key in old if key not in self.columns]
        self.columns += dict.fromkeys(new)
        if fresh or merged or new:
            self._rewrite(self.rows)
        else:
            self._append(row)

    def _append(self, row: dict[str, Any]) -> None:
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns).writerow(row)

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        beside = self.path.with_suffix(".tmp")
        with beside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(rows)
        beside.replace(self.path)
