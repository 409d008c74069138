"""How much of a metric's variance each key accounts for, by itself."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from triad.analysis.settings import Setting, format_cell

BINS = 4  # of a number that takes another value in nearly every run, as in a random search
LEAST_IN_BIN = 3


class Share(NamedTuple):
    """A key's share of the variance, as found and less what chance alone would give; or why there is none."""

    key: str
    found: float | None
    unbiased: float | None
    remark: str


def measure_importance(
    together: list[Setting], keys: list[str], metric: str
) -> tuple[list[Share], float | None]:
    """The share of each key, largest first, and that of the seed (None if no setting has two).

    One sample is a setting with a seed that has finished. With y the metric and x the key's value,

        eta^2 = Var(E[y | x]) / Var(y)         the correlation ratio; on a full grid Sobol's first-order index
        epsilon^2 = 1 - (1 - eta^2) (n - 1) / (n - levels)   Kelley 1935, PNAS 21(9): less what chance gives

    Keys that vary together (no full grid) are given the same variance: shares overlap, the sum may exceed 1.
    """
    samples = [
        (setting, value)
        for setting in together
        for value in setting.figures(metric).values()
        if math.isfinite(value)
    ]
    results = [value for _, value in samples]
    if len(results) < 3 or len(set(results)) < 2:
        return [], None
    shares = [_measure_share(key, [setting.value(key) for setting, _ in samples], results) for key in keys]
    shares.sort(key=lambda share: -1.0 if share.unbiased is None else share.unbiased, reverse=True)
    groups = [[*setting.figures(metric).values()] for setting in together]
    several = [group for group in groups if len(group) > 1 and all(map(math.isfinite, group))]
    seeds = sum(map(_sum_squares, several)) / _sum_squares(results) if several else None
    return shares, seeds


def _measure_share(key: str, values: list[Any], results: list[float]) -> Share:
    levels, remark = _assign_levels(values)
    groups: dict[str, list[float]] = {}
    for level, result in zip(levels, results, strict=True):
        groups.setdefault(level, []).append(result)
    n, k = len(results), len(groups)
    if k < 2:
        return Share(key, None, None, "the finished runs have one value")
    if n - k < 2 or k > n / 2:
        return Share(key, None, None, f"{k} values in {n} results: too few to tell it from chance")
    found = 1 - sum(map(_sum_squares, groups.values())) / _sum_squares(results)
    return Share(key, found, max(0.0, 1 - (1 - found) * (n - 1) / (n - k)), remark or f"{k} values")


def _assign_levels(values: list[Any]) -> tuple[list[str], str]:
    """Values as levels; numbers that hardly repeat in equally full bins, if there are enough."""
    texts = [format_cell(value) for value in values]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    bins = min(BINS, len(values) // LEAST_IN_BIN)
    if len(numbers) < len(values) or len(set(texts)) <= len(texts) / 2 or bins < 2:
        return texts, ""
    order = sorted(numbers)
    return [str(order.index(value) * bins // len(order)) for value in numbers], f"{bins} bins of its values"


def _sum_squares(values: Sequence[float]) -> float:
    """The sum of squared deviations from the mean."""
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values)
