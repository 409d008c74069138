"""The curves of a run, from its metrics.csv: a metric over steps, tokens or seconds of training."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from triad.runs.directory import Run

AXES = {"steps": "step", "tokens": "train/tokens", "seconds": "perf/train_s"}
MOST_POINTS = 100  # of a curve; of more, neighbours are averaged


class Series(NamedTuple):
    """Points of a curve."""

    x: list[float]
    y: list[float]


def read_series(directory: Path, metric: str) -> dict[str, Series]:
    """A metric of a run over each axis that was logged; {} if the metric was never logged.

    Validations are logged between two reports of tokens and seconds: these are interpolated over the steps.
    """
    rows = Run(directory).metrics()
    measured = [row for row in rows if np.isfinite(row.get(metric, np.nan))]
    if not measured:
        return {}
    steps, y = ([row[key] for row in measured] for key in ("step", metric))
    found = {"steps": _thin(steps, y)}
    for axis in ("tokens", "seconds"):
        known = [(row["step"], row[AXES[axis]]) for row in rows if AXES[axis] in row]
        if known:
            at, said = zip((0, 0.0), *known, strict=True)
            found[axis] = _thin(np.interp(steps, at, said).tolist(), y)
    return found


def _thin(x: list[float], y: list[float]) -> Series:
    width = -(-len(x) // MOST_POINTS)
    pieces = [slice(start, start + width) for start in range(0, len(x), width)]
    return Series(*([float(np.mean(values[piece])) for piece in pieces] for values in (x, y)))
