"""What a run has measured, read back from its metrics.csv; nothing here needs torch."""

import csv
import math
from collections.abc import Collection
from pathlib import Path
from statistics import median_low

from triad.config.directions import find_best

SPEEDS = ("perf/tokens_per_s", "perf/mfu")
TAKEN = (
    "train/tokens",
    "train/flops",
    "perf/train_s",
    "perf/energy_joules",
    "perf/energy_joules_estimate",
    "perf/cost",
)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics file, without empty cells; a last line cut short by a kill is left out."""
    header, lines = _read_lines(path)
    rows = []
    for line in lines:
        try:
            row = {key: float(text) for key, text in zip(header, line, strict=True) if text}
        except ValueError:
            continue
        if "step" in row:
            rows.append(row | {"step": int(row["step"])})
    return rows


def read_columns(path: Path, keys: Collection[str]) -> dict[str, list[float]]:
    """Columns of a metrics file, those of `keys` that it has, nan in empty cells: faster than its rows."""
    header, lines = _read_lines(path)
    columns = {key: [line[at] for line in lines] for at, key in enumerate(header) if key in keys}
    return {key: _to_numbers(column) for key, column in columns.items()}


def _read_lines(path: Path) -> tuple[list[str], list[list[str]]]:
    """The heading of a metrics file and its other whole lines, with a cell for each column."""
    if not path.exists():
        return [], []
    with path.open(newline="", encoding="utf-8") as file:
        header, *lines = [*csv.reader(line for line in file if line.endswith("\n"))] or [[]]
    width = len(header)
    return header, [line + [""] * (width - len(line)) for line in lines if len(line) <= width]


def _to_numbers(column: list[str]) -> list[float]:
    try:
        return [float(text) if text else math.nan for text in column]
    except ValueError:  # a damaged cell
        return [_to_number(text) for text in column]


def _to_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def summarize(rows: list[dict[str, float]], metric: str, direction: str) -> dict[str, float]:
    """The figures of the validation that is best by a metric, the median speed, and what all of it took."""
    found: dict[str, float] = {}
    if validated := [row for row in rows if metric in row]:
        best = find_best(validated, lambda row: row[metric], direction) or validated[-1]
        found = {key: value for key, value in best.items() if key.startswith("val/")}
    for key in SPEEDS:
        if measured := [row[key] for row in rows if key in row]:
            found[key] = median_low(measured)
    last = {key: value for row in rows for key, value in row.items()}
    if "perf/energy_joules_estimate" in last:  # since some resume; what was measured before is a part of it
        last.pop("perf/energy_joules", None)
    return found | {key: last[key] for key in TAKEN if key in last}
