"""One number of a run that is finished: what a claim compares."""

import math

from triad.config.errors import Refusal
from triad.config.schema import suggest
from triad.runs.directory import Run


def last(run: Run, metric: str) -> float:
    """The last value of a metric."""
    return _read(run, metric)[-1][1]


def best(run: Run, metric: str, largest: bool) -> float:
    """The largest or smallest value of a metric."""
    values = [value for _, value in _read(run, metric)]
    return max(values) if largest else min(values)


def first_step(run: Run, metric: str, at_least: float | None = None, at_most: float | None = None) -> float:
    """The first step at which a metric has a value; infinite where it is never reached.

    Raises ValueError where not one of the two is given.
    """
    if (at_least is None) == (at_most is None):
        raise ValueError("claim.measure: give one of at_least and at_most")
    for step, value in _read(run, metric):
        if value >= at_least if at_least is not None else value <= (at_most or 0.0):
            return step
    return math.inf


def _read(run: Run, metric: str) -> list[tuple[float, float]]:
    """The steps and values of a metric. Raises Refusal where it was not logged."""
    rows = run.metrics()
    found = [(row["step"], row[metric]) for row in rows if metric in row]
    if not found:
        known = sorted({key for row in rows for key in row} - {"step"})
        raise Refusal(f"claim.measure: {run} has logged no {metric}{suggest(metric, known)}")
    return found
