"""One number of a run that is finished: what a claim compares."""

from triad.config.errors import Refusal
from triad.config.schema import suggest
from triad.runs.directory import Run


def last(run: Run, metric: str) -> float:
    """The last value of a metric."""
    return _read(run, metric)[-1][1]


def _read(run: Run, metric: str) -> list[tuple[float, float]]:
    """The steps and values of a metric. Raises Refusal where it was not logged."""
    rows = run.metrics()
    found = [(row["step"], row[metric]) for row in rows if metric in row]
    if not found:
        known = sorted({key for row in rows for key in row} - {"step"})
        raise Refusal(f"claim.measure: {run} has logged no {metric}{suggest(metric, known)}")
    return found
