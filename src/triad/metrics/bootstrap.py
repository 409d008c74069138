"""Confidence intervals and significance by resampling rows with replacement. Shapes: N rows, S statistics.

A resample of a metric costs a sum over rows and one `compute`: the rows are counted once.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

RESAMPLES, SEED = 1000, 12345  # those of sacrebleu


class Interval(NamedTuple):
    """A figure, and between which figures the central share of the resamples lies."""

    value: float
    low: float
    high: float


class Comparison(NamedTuple):
    """A figure of two systems on the same rows: the second less the first.

    `p_value` is the probability of so large a difference if there were none, `wins` the share of resamples in
    which the second system has the greater figure.
    """

    difference: Interval
    p_value: float
    wins: float


def confidence_intervals(
    metric: Any, rows_NS: np.ndarray, level: float = 0.95, resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, Interval]:
    """The percentile interval of each figure of a metric (Efron 1979), by its name.

    `rows_NS` is triad.metrics.sums.count_each of all rows. Raises ValueError where there is no row, or a
    level that is not between 0 and 1.
    """
    figures = _resample(metric, rows_NS, resamples, seed)
    return {
        name: _enclose(value, np.array([figure[name] for figure in figures]), level)
        for name, value in metric.compute(rows_NS.sum(0)).items()
    }


def compare_paired(
    metric: Any,
    first_NS: np.ndarray,
    second_NS: np.ndarray,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Comparison]:
    """The paired bootstrap test of each figure of a metric (Koehn 2004), by its name.

        p = (1 + #{r: |d_r| - mean |d_r| > |d|}) / (resamples + 1)

    d is the difference on all rows and d_r that on resample r, which takes the same rows of both systems. The
    p-value is sacrebleu's, two-sided, but 1 where d is 0, for which sacrebleu gives the least one. Raises
    ValueError where the systems have other numbers of rows.
    """
    if len(first_NS) != len(second_NS):
        raise ValueError(
            f"systems of {len(first_NS)} and {len(second_NS)} rows: compare them on the same rows"
        )
    before, after = (metric.compute(rows_NS.sum(0)) for rows_NS in (first_NS, second_NS))
    resampled = [_resample(metric, rows_NS, resamples, seed) for rows_NS in (first_NS, second_NS)]
    found = {}
    for name, value in before.items():
        first_R, second_R = (np.array([figure[name] for figure in figures]) for figures in resampled)
        difference, difference_R = after[name] - value, second_R - first_R
        sizes_R = np.abs(difference_R)
        larger = (sizes_R - sizes_R.mean() > abs(difference)).sum()
        p_value = float((larger + 1) / (resamples + 1)) if difference else 1.0
        wins = float((difference_R > 0).mean())
        found[name] = Comparison(_enclose(difference, difference_R, level), p_value, wins)
    return found


def _resample(metric: Any, rows_NS: np.ndarray, resamples: int, seed: int) -> list[dict[str, float]]:
    return [metric.compute(times_N @ rows_NS) for times_N in draw_resamples(len(rows_NS), resamples, seed)]


def draw_resamples(rows: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each row is drawn, for each resample; the draws are sacrebleu's of the same seed."""
    if not rows:
        raise ValueError("there are no rows to draw from: a figure of none has no interval")
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(generator.choice(rows, size=rows), minlength=rows).astype(float)


def _enclose(value: float, figures_R: np.ndarray, level: float) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"level={level}: a share between 0 and 1, such as 0.95")
    low, high = np.quantile(figures_R, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))
