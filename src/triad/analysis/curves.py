"""The curves of a run, from its metrics.csv: metrics over steps, tokens or seconds of training."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from triad.runs.directory import Run
from triad.runs.metrics import read_columns

AXES = {"steps": "step", "tokens": "train/tokens", "seconds": "perf/train_s"}
MOST_POINTS = 100  # of a curve; of more, neighbours are averaged


class Series(NamedTuple):
    """Points of a curve."""

    x: list[float]
    y: list[float]


class Band(NamedTuple):
    """The mean of some curves, and one standard deviation to both sides of it."""

    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def read_curves(directory: Path, metrics: Sequence[str]) -> dict[str, dict[str, Series]]:
    """Metrics of a run that were logged, each over the axes that were logged.

    Validations are logged between two reports of tokens and seconds: these are interpolated over the steps.
    """
    found = read_columns(Run(directory).metrics_file, {*AXES.values(), *metrics})
    columns = {key: np.array(values) for key, values in found.items()}
    curves = {}
    for metric in dict.fromkeys(metrics):
        measured = np.isfinite(columns.get(metric, np.empty(0)))
        if measured.any():
            steps, y = columns["step"][measured], columns[metric][measured]
            curves[metric] = {
                axis: Series(_thin(_interpolate(steps, columns["step"], columns[key])), _thin(y))
                for axis, key in AXES.items()
                if key in columns
            }
    return curves


def _interpolate(at: np.ndarray, steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values at some steps of what is 0 at step 0 and known at some others."""
    known = np.isfinite(steps) & np.isfinite(values)
    return np.interp(at, np.append(0.0, steps[known]), np.append(0.0, values[known]))


def _thin(values: np.ndarray) -> list[float]:
    width = -(-len(values) // MOST_POINTS)
    starts = np.arange(0, len(values), width)
    return (np.add.reduceat(values, starts) / np.diff(starts, append=len(values))).tolist()


def fold_seeds(curves: Sequence[dict[str, Series]]) -> dict[str, Band]:
    """The mean and the sample standard deviation of two or more curves at equal steps, over each axis.

    Over the steps that all of them have; where only some have a point, the others are interpolated. A step is
    at the mean of the tokens or seconds that it took.
    """
    steps = [curve["steps"].x for curve in curves]
    start, end = max(one[0] for one in steps), min(one[-1] for one in steps)
    common = sorted({step for one in steps for step in one if start <= step <= end})
    if len(common) > MOST_POINTS:
        common = np.linspace(start, end, MOST_POINTS).tolist()
    if not common:
        return {}
    values = np.array([np.interp(common, *curve["steps"]) for curve in curves])
    mean, deviation = values.mean(0), values.std(0, ddof=1)
    sides = [side.tolist() for side in (mean, mean - deviation, mean + deviation)]
    bands = {}
    for axis in AXES:
        if all(axis in curve for curve in curves):
            x = [np.interp(common, at, curve[axis].x) for at, curve in zip(steps, curves, strict=True)]
            bands[axis] = Band(np.mean(x, 0).tolist(), *sides)
    return bands
