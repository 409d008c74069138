"""Comparisons of arms with thresholds.

Levels and ratios are judged by seed: all meet the threshold (holds), none (fails) or some (within noise).
A difference is judged in standard deviations.
"""

import math
from collections.abc import Iterable
from statistics import fmean, stdev

from triad.claims.claim import Figures, Finding, Verdict, describe


class Level:
    """The number of one arm is at least, or at most, a threshold."""

    def __init__(self, arm: str, at_least: float | None = None, at_most: float | None = None) -> None:
        self.arms, self.bound = (arm,), _Bound(at_least, at_most)

    def judge(self, figures: Figures) -> Finding:
        """Of each seed."""
        values = figures[self.arms[0]]
        return Finding(f"{self.arms[0]} {self.bound}", describe(values), self.bound.judge(values))


class Ratio:
    """The number of one arm over that of another, seed by seed, is at least, or at most, a threshold.

    A number that is infinite, such as steps to a loss that was not reached, is larger than every other; of
    two such the ratio is no number, and meets nothing.
    """

    def __init__(
        self, arm: str, to: str, at_least: float | None = None, at_most: float | None = None
    ) -> None:
        self.arms, self.bound = (arm, to), _Bound(at_least, at_most)

    def judge(self, figures: Figures) -> Finding:
        """Of each seed."""
        pairs = zip(*(figures[arm] for arm in self.arms), strict=True)
        values = [_divide(one, other) for one, other in pairs]
        return Finding(
            f"{self.arms[0]} / {self.arms[1]} {self.bound}", describe(values), self.bound.judge(values)
        )


class Difference:
    """The mean of one arm is above that of another by at least, or at most, so many standard deviations.

        d = (mean(x) - mean(y)) / sqrt((s_x^2 + s_y^2) / 2)          Cohen 1988, eq. 2.3.2

    With `at_least` it holds from there on, fails where the sign is the other, and is within noise between.
    With `at_most` it is |d| that is meant: the arms are the same up to noise.
    """

    def __init__(
        self, arm: str, above: str, at_least: float | None = None, at_most: float | None = None
    ) -> None:
        self.arms, self.bound = (arm, above), _Bound(at_least, at_most)

    def judge(self, figures: Figures) -> Finding:
        """Of the means."""
        ours, theirs = (figures[arm] for arm in self.arms)
        spread = math.sqrt((stdev(ours) ** 2 + stdev(theirs) ** 2) / 2)
        effect = _divide(fmean(ours) - fmean(theirs), spread)
        said = f"{self.arms[0]} - {self.arms[1]} {self.bound} s.d."
        if self.bound.at_most is not None:
            verdict: Verdict = "holds" if abs(effect) <= self.bound.at_most else "fails"
        else:
            verdict = "holds" if self.bound.meets(effect) else "within noise" if effect > 0 else "fails"
        return Finding(said, f"{effect:.3g} s.d. ({fmean(ours):.4g}, {fmean(theirs):.4g})", verdict)


class _Bound:
    """A threshold from below or from above. Raises ValueError for both or neither."""

    def __init__(self, at_least: float | None, at_most: float | None) -> None:
        if (at_least is None) == (at_most is None):
            raise ValueError("claim.expects: give one of at_least and at_most")
        self.at_least, self.at_most = at_least, at_most

    def __str__(self) -> str:
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"

    def meets(self, value: float) -> bool:
        return value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0.0)

    def judge(self, values: Iterable[float]) -> Verdict:
        met = {self.meets(value) for value in values}
        return "within noise" if len(met) > 1 else "holds" if met == {True} else "fails"


def _divide(one: float, other: float) -> float:
    if math.isinf(one) and math.isinf(other):
        return math.nan
    return one / other if other else math.copysign(math.inf, one) if one else math.nan
