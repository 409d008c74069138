"""The law of loss, parameters and tokens, and how to find it in runs."""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from triad.config.errors import Refusal

WIDEST = (0.02, 2.0)  # exponents that are looked at
GRID, ZOOMS = 15, 6
BUDGETS = 5


class Measurement(NamedTuple):
    """A run, or the mean of its seeds: parameters N, tokens D, and the loss. 6 N D are its FLOPs.

    N is what follows from the FLOPs that were counted: weights that are multiplied with, and attention.
    """

    parameters: float
    tokens: float
    loss: float

    @property
    def flops(self) -> float:
        return 6 * self.parameters * self.tokens


class Law(NamedTuple):
    """L(N, D) = E + A / N^alpha + B / D^beta      Hoffmann et al. 2022, arXiv:2203.15556, eq. 2"""

    floor: float
    a: float
    b: float
    alpha: float
    beta: float

    def loss(self, parameters: float, tokens: float) -> float:
        """The loss that a model of so many parameters is to reach after so many tokens."""
        return self.floor + self.a / parameters**self.alpha + self.b / tokens**self.beta

    def __str__(self) -> str:
        by_size, by_length = f"{self.a:.4g} / N^{self.alpha:.3f}", f"{self.b:.4g} / D^{self.beta:.3f}"
        return f"{self.floor:.3f} + {by_size} + {by_length}"

    @property
    def exponent(self) -> float:
        """a of N ~ C^a, on the way of the least loss for each C; that of D is 1 - a."""
        return self.beta / (self.alpha + self.beta)

    def best(self, flops: float) -> float:
        """The parameters of the least loss that so many FLOPs buy.

        N = G (C / 6)^a,   G = (alpha A / (beta B))^(1 / (alpha + beta))      Hoffmann et al. 2022, eq. 4
        """
        ratio = self.alpha * self.a / (self.beta * self.b)
        return ratio ** (1 / (self.alpha + self.beta)) * (flops / 6) ** self.exponent


class Slice(NamedTuple):
    """Models of several sizes at one budget, and the lowest point of the parabola through them."""

    flops: float
    points: list[Measurement]
    best: float
    loss: float


def fit_law(points: list[Measurement]) -> Law:
    """The law of least squares.

    For given exponents the rest is linear (Golub & Pereyra 1973, variable projection): the exponents are
    found by zooming into a grid, the rest by solving. Nothing but the law's own signs is assumed: E, A and B
    are not negative. Deviates from the paper's Huber loss of log L: a few runs have no outliers to forgive.
    """
    low, high = [WIDEST[0]] * 2, [WIDEST[1]] * 2
    best, law = math.inf, None
    for _ in range(ZOOMS):
        grids = [np.geomspace(*ends, GRID) for ends in zip(low, high, strict=True)]
        for alpha in grids[0]:
            for beta in grids[1]:
                error, found = _solve(points, float(alpha), float(beta))
                if error < best:
                    best, law = error, found
        if law is None:
            raise Refusal("the losses do not fall with both parameters and tokens: there is no law to fit")
        at = (law.alpha, law.beta)
        step = [(grid[1] / grid[0]) ** 1.5 for grid in grids]
        low = [max(WIDEST[0], x / s) for x, s in zip(at, step, strict=True)]
        high = [min(WIDEST[1], x * s) for x, s in zip(at, step, strict=True)]
    assert law is not None
    return law


def _solve(points: list[Measurement], alpha: float, beta: float) -> tuple[float, Law | None]:
    """The squared error with these exponents; infinite where a sign would be wrong."""
    n, d, loss = np.array(points).T
    terms = np.stack([np.ones_like(n), n**-alpha, d**-beta], axis=1)
    scale = terms.max(axis=0)  # N^-alpha is small
    found, *_ = np.linalg.lstsq(terms / scale, loss)
    if (found < 0).any():
        return math.inf, None
    floor, a, b = found / scale
    error = float(((terms @ (found / scale) - loss) ** 2).sum())
    return error, Law(float(floor), float(a), float(b), alpha, beta)


def cut_slices(points: list[Measurement], budgets: int = BUDGETS) -> list[Slice]:
    """Sizes at equal FLOPs: each size's loss between its own runs, and a parabola over log N.

    Hoffmann et al. 2022, section 3.2. Budgets lie evenly between the least and the greatest at which four
    sizes can be read; one whose parabola has no lowest point among its sizes is left out.
    """
    sizes: dict[int, list[Measurement]] = {}
    for point in sorted(points, key=lambda point: point.tokens):
        sizes.setdefault(round(point.parameters), []).append(point)
    ends = sorted((runs[0].flops, runs[-1].flops) for runs in sizes.values() if len(runs) > 1)
    if len(ends) < 4:
        return []
    low, high = sorted(first for first, _ in ends)[3], sorted((last for _, last in ends), reverse=True)[3]
    found = []
    for flops in np.geomspace(low, high, budgets) if low < high else ():
        read = [point for runs in sizes.values() if (point := _interpolate(runs, float(flops)))]
        if len(read) < 4:
            continue
        x = np.log([point.parameters for point in read])
        curve = np.polyfit(x, np.array([point.loss for point in read]), 2)
        lowest = -curve[1] / (2 * curve[0])
        if curve[0] > 0 and x.min() < lowest < x.max():
            loss = float(np.polyval(curve, lowest))
            found.append(Slice(float(flops), read, math.exp(lowest), loss))
    return found


def _interpolate(runs: list[Measurement], flops: float) -> Measurement | None:
    """A size at a budget: its loss between two lengths, straight over log D."""
    for before, after in pairwise(runs):
        if before.flops * (1 - 1e-9) <= flops <= after.flops * (1 + 1e-9):
            tokens = flops / (6 * before.parameters)
            share = math.log(tokens / before.tokens) / math.log(after.tokens / before.tokens)
            return Measurement(before.parameters, tokens, before.loss + share * (after.loss - before.loss))
    return None


def fit_exponent(found: list[Slice]) -> float:
    """a of N ~ C^a through the lowest points; not a number for fewer than two."""
    if len(found) < 2:
        return math.nan
    flops, sizes = np.log([(one.flops, one.best) for one in found]).T
    return float(np.polyfit(flops, sizes, 1)[0])
