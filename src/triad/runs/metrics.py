"""What a run has measured, read back from its metrics.csv; nothing here needs torch."""

import csv
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
    if not path.exists():
        return []
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(line for line in file if line.endswith("\n")):
            try:
                row = {key: float(value) for key, value in line.items() if value}
            except (TypeError, ValueError):
                continue
            if "step" in row:
                rows.append(row | {"step": int(row["step"])})
    return rows


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
