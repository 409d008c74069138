"""The law that runs of several widths and lengths follow, and the best size for a budget of FLOPs.

python -m triad.scaling outputs/isoflop flops=1e15 to=isoflop.png
"""

import math
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from triad.leaderboard.runs import directories_of, load, settings
from triad.sentences import Refusal

NEEDED = ("train/tokens", "train/flops")
LEAST = 6  # points: the law has five numbers
WIDEST = (0.02, 2.0)  # exponents that are looked at
GRID, ZOOMS = 15, 6
RESAMPLES, MIDDLE = 100, 0.9
BUDGETS = 5


class Point(NamedTuple):
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
    points: list[Point]
    best: float
    loss: float


def fit(points: list[Point]) -> Law:
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
                error, found = _solved(points, float(alpha), float(beta))
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


def _solved(points: list[Point], alpha: float, beta: float) -> tuple[float, Law | None]:
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


def slices(points: list[Point], budgets: int = BUDGETS) -> list[Slice]:
    """Sizes at equal FLOPs: each size's loss between its own runs, and a parabola over log N.

    Hoffmann et al. 2022, section 3.2. Budgets lie evenly between the least and the greatest at which four
    sizes can be read; one whose parabola has no lowest point among its sizes is left out.
    """
    sizes: dict[int, list[Point]] = {}
    for point in sorted(points, key=lambda point: point.tokens):
        sizes.setdefault(round(point.parameters), []).append(point)
    ends = sorted((runs[0].flops, runs[-1].flops) for runs in sizes.values() if len(runs) > 1)
    if len(ends) < 4:
        return []
    low, high = sorted(first for first, _ in ends)[3], sorted((last for _, last in ends), reverse=True)[3]
    found = []
    for flops in np.geomspace(low, high, budgets) if low < high else ():
        read = [point for runs in sizes.values() if (point := _at(runs, float(flops)))]
        if len(read) < 4:
            continue
        x = np.log([point.parameters for point in read])
        curve = np.polyfit(x, np.array([point.loss for point in read]), 2)
        lowest = -curve[1] / (2 * curve[0])
        if curve[0] > 0 and x.min() < lowest < x.max():
            loss = float(np.polyval(curve, lowest))
            found.append(Slice(float(flops), read, math.exp(lowest), loss))
    return found


def _at(runs: list[Point], flops: float) -> Point | None:
    """A size at a budget: its loss between two lengths, straight over log D."""
    for before, after in pairwise(runs):
        if before.flops * (1 - 1e-9) <= flops <= after.flops * (1 + 1e-9):
            tokens = flops / (6 * before.parameters)
            share = math.log(tokens / before.tokens) / math.log(after.tokens / before.tokens)
            return Point(before.parameters, tokens, before.loss + share * (after.loss - before.loss))
    return None


def exponent(found: list[Slice]) -> float:
    """a of N ~ C^a through the lowest points; not a number for fewer than two."""
    if len(found) < 2:
        return math.nan
    flops, sizes = np.log([(one.flops, one.best) for one in found]).T
    return float(np.polyfit(flops, sizes, 1)[0])


def points(runs: list[Path], metric: str) -> tuple[list[Point], list[Point]]:
    """The means over seeds, and every run by itself. Raises Refusal where results lack what is needed."""
    means, single = [], []
    for setting in settings([load(run) for run in runs]):
        results = [run.result for run in setting.runs if run.result]
        for result in results:
            if missing := [name for name in (*NEEDED, metric) if name not in result]:
                raise Refusal(f"metric={metric}: {setting.runs[0].directory} has no {missing[0]}")
        mine = [
            Point(r["train/flops"] / (6 * r["train/tokens"]), r["train/tokens"], r[metric]) for r in results
        ]
        single += mine
        if mine:
            means.append(mine[0]._replace(loss=sum(point.loss for point in mine) / len(mine)))
    if len(means) < LEAST or any(len({point[i] for point in means}) < 3 for i in (0, 1)):
        raise Refusal(
            f"{len(means)} finished settings: a law needs at least {LEAST}, of three sizes and three lengths"
        )
    return means, single


def scaling(
    overrides: list[str],
    metric: str = "val/loss",
    flops: float | None = None,
    to: str | None = None,
) -> None:
    """Fit L(N, D) = E + A / N^alpha + B / D^beta to finished runs, and say which size is best for a budget.

    The words are runs or directories of runs, such as outputs/isoflop. Two ways are shown: the law, and the
    lowest points of parabolas at equal FLOPs. Intervals hold 90 % of the fits to resampled runs. `flops` is
    a budget to say the best size, length and loss for; `to` draws the runs, the slices and the law.
    """
    means, single = points(directories_of(overrides or ["outputs"], ["metric", "flops", "to"]), metric)
    law, cut = fit(means), slices(means)
    laws, cuts = _resampled(single)
    off = math.sqrt(sum((law.loss(p.parameters, p.tokens) - p.loss) ** 2 for p in means) / len(means))
    print(f"law     {metric} = {law}")
    print(f"        off by {off:.3f}, the root mean square of {len(means)} settings ({len(single)} runs)")
    for name in ("floor", "alpha", "beta"):
        print(f"        {name} between {_between([getattr(one, name) for one in laws])}")
    for one in cut:
        by_law = f"by the law {law.best(one.flops):.3g}"
        print(f"slice   {one.flops:.3g} FLOPs: best {one.best:.3g} parameters, {one.loss:.3f}; {by_law}")
    ways = [("the law", law.exponent, [one.exponent for one in laws])]
    if len(cut) > 1:
        ways.append(("parabolas", exponent(cut), [exponent(one) for one in cuts]))
    for name, value, others in ways:
        print(f"N ~ C^a a = {value:.2f} by {name}, between {_between(others)}")
    if flops:
        size = law.best(flops)
        tokens = flops / (6 * size)
        loss = law.loss(size, tokens)
        print(f"budget  {flops:.3g} FLOPs: {size:.3g} parameters, {tokens:.3g} tokens, {metric} {loss:.3f}")
    if to:
        _draw(Path(to), means, law, cut, metric)
        print(to)


def _resampled(single: list[Point]) -> tuple[list[Law], list[list[Slice]]]:
    """Laws and slices of as many runs drawn with replacement, again and again."""
    random = np.random.default_rng(0)
    laws, cuts = [], []
    for _ in range(RESAMPLES):
        drawn = [single[i] for i in random.integers(len(single), size=len(single))]
        together: dict[tuple[float, float], list[float]] = {}
        for point in drawn:
            together.setdefault(point[:2], []).append(point.loss)
        means = [Point(*at, sum(losses) / len(losses)) for at, losses in together.items()]
        if len(means) >= LEAST:
            laws.append(fit(means))
            cuts.append(slices(means))
    return laws, cuts


def _between(values: list[float]) -> str:
    """The middle 90 %."""
    kept = [value for value in values if math.isfinite(value)]
    if not kept:
        return "unknown bounds"
    low, high = np.quantile(kept, [(1 - MIDDLE) / 2, (1 + MIDDLE) / 2])
    return f"{low:.2f} and {high:.2f}"


def _draw(path: Path, means: list[Point], law: Law, cut: list[Slice], metric: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for size in sorted({point.parameters for point in means}):
        runs = sorted((p for p in means if p.parameters == size), key=lambda p: p.tokens)
        line = left.plot(
            [p.flops for p in runs], [p.loss for p in runs], "o", markersize=4, label=f"{size:.3g}"
        )
        left.plot(
            [p.flops for p in runs], [law.loss(size, p.tokens) for p in runs], color=line[0].get_color(), lw=1
        )
    left.set(xscale="log", xlabel="FLOPs", ylabel=metric, title="runs, and the law (lines)")
    left.legend(title="parameters", fontsize="small")
    for one in cut:
        line = right.plot(
            [p.parameters for p in one.points],
            [p.loss for p in one.points],
            "o-",
            markersize=4,
            label=f"{one.flops:.2g}",
        )
        right.plot([one.best], [one.loss], "*", markersize=11, color=line[0].get_color())
    right.set(xscale="log", xlabel="parameters", title="at equal FLOPs; stars: the best size")
    if cut:
        right.legend(title="FLOPs", fontsize="small")
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    from triad.verbs import verb

    verb(scaling)
