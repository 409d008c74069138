"""What the mean of a few seeds is worth: Student's interval, with exact quantiles."""

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

LEVEL = 0.95  # of every interval shown


class Interval(NamedTuple):
    """The mean of n values and half the width of its interval; no width where the values do not allow one."""

    mean: float
    half: float | None
    n: int

    def contains(self, value: float) -> bool:
        """Whether a value lies in the interval. Needs one: two values or more, all finite."""
        assert self.half is not None, self
        return abs(value - self.mean) <= self.half


def estimate_interval(values: Sequence[float]) -> Interval:
    """The mean with its interval of confidence, from independent values (one a seed).

        mean +- t_{n-1} s / sqrt(n),   s^2 = sum (x - mean)^2 / (n - 1)       Student 1908, Biometrika 6(1)

    Of paired differences it is the paired t interval. One value, or any that is not finite: no width.
    """
    n = len(values)
    mean = math.fsum(values) / n if all(map(math.isfinite, values)) else math.nan
    if n == 1 or math.isnan(mean):
        return Interval(values[0] if n == 1 else mean, None, n)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return Interval(mean, quantile(n - 1) * math.sqrt(variance / n), n)


def format_interval(found: Interval, sign: str = "") -> str:
    """A mean with the digits that its interval leaves it, 3.457 ± 0.012, or with five; `sign` may be +."""
    if found.half is None or not math.isfinite(found.half):
        return f"{found.mean:{sign}.5g}"
    if found.half == 0 or not 1e-9 < found.half < 1e6:
        return f"{found.mean:{sign}.5g} ± {found.half:.2g}"
    digits = max(0, 1 - math.floor(math.log10(found.half)))
    return f"{found.mean:{sign}.{digits}f} ± {found.half:.{digits}f}"


@cache
def quantile(freedom: int, level: float = LEVEL) -> float:
    """The t that |T| stays below with probability `level`: 12.7 for one degree of freedom, 1.96 for many."""
    low, high = 0.0, math.pi / 2
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if probability_within(middle, freedom) < level else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def probability_within(theta: float, freedom: int) -> float:
    """P(|T| < t) of Student's T, a finite sum in theta = arctan(t / sqrt(freedom)).

        even: sin (1 + 1/2 cos^2 + 1*3/(2*4) cos^4 + ... up to cos^(freedom - 2))
        odd:  2/pi (theta + sin (cos + 2/3 cos^3 + 2*4/(3*5) cos^5 + ... up to cos^(freedom - 2)))

    Abramowitz and Stegun 1964, eq. 26.7.3 and 26.7.4.
    """
    odd = freedom % 2
    term, total = math.cos(theta) if odd else 1.0, 0.0
    for power in range(odd, freedom - 1, 2):
        total += term
        term *= math.cos(theta) ** 2 * (power + 1) / (power + 2)
    total *= math.sin(theta)
    return 2 / math.pi * (theta + total) if odd else total
