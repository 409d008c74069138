"""The law of loss, parameters and tokens, and how to find it in runs."""

import math
from collections.abc import Callable
from itertools import pairwise, product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from triad.config.errors import Refusal

if TYPE_CHECKING:
    from torch import Tensor

DELTA = 1e-3  # Hoffmann et al. 2022, section 3.3; their grid of starts: of a, b and e, and of alpha and beta
LEVELS = ((0, 5, 10, 15, 20, 25), (0, 5, 10, 15, 20, 25), (-1, -0.5, 0, 0.5, 1))
EXPONENTS = (0, 0.5, 1, 1.5, 2)
SHORT, LONG = 40, 1000  # steps of L-BFGS
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


def fit_law(points: list[Measurement], near: Law | None = None) -> Law:
    """The law that published fits give: Huber's loss of log L, which an outlier moves little.

        min over a, b, e, alpha, beta of  sum_i Huber(LSE(a - alpha log N_i, b - beta log D_i, e) - log L_i)
        A = exp a,  B = exp b,  E = exp e,  LSE = log sum exp,  delta = 1e-3

    Hoffmann et al. 2022, section 3.3 and appendix D.2. The sum is that of Besiroglu et al. 2024,
    arXiv:2404.10102: with the mean L-BFGS stops too early. L-BFGS starts from the papers' grid, or from
    the law `near`. Deviates: for each pair of exponents only the best of the grid's a, b and e is a start,
    and the best of all after SHORT steps goes on alone; log N and log D are taken from their means, where
    the same minimum is found in fewer steps. Raises Refusal where a loss has no logarithm, or where the
    losses do not fall with both N and D.
    """
    import torch
    from torch.nn.functional import huber_loss

    data = torch.tensor(points, dtype=torch.float64)
    if not (data.isfinite() & (data > 0)).all():
        raise Refusal("a law of log L takes finite losses above 0: leave out runs that have none")
    log_n, log_d, log_loss = data.log().T
    centre = torch.stack([log_n.mean(), log_d.mean()])
    offsets = torch.stack([log_n, log_d]) - centre[:, None]

    def error(theta: "Tensor") -> "Tensor":  # (..., 5): a and b at the centre, e, alpha, beta
        level, floor, exponents = theta[..., :2, None], theta[..., 2:3, None], theta[..., 3:, None]
        terms = torch.cat([level - exponents * offsets, floor.expand(*theta.shape[:-1], 1, len(data))], -2)
        predicted = terms.logsumexp(-2)
        return huber_loss(predicted, log_loss.expand_as(predicted), reduction="none", delta=DELTA).sum(-1)

    starts = _make_starts(near)
    starts[..., :2] -= starts[..., 3:] * centre
    starts = starts[torch.arange(len(starts)), error(starts).argmin(-1)]
    theta = _descend(error, min((_descend(error, start, SHORT) for start in starts), key=error), LONG)
    exponents = theta[3:]
    falls = (theta[:2, None] - exponents[:, None] * offsets).exp()
    if (exponents <= 0).any() or (falls.amax(-1) - falls.amin(-1) < DELTA * data[:, 2].min()).any():
        raise Refusal("the losses do not fall with both parameters and tokens: there is no law to fit")
    a, b = (theta[:2] + exponents * centre).exp().tolist()
    return Law(math.exp(theta[2]), a, b, *exponents.tolist())


def _make_starts(near: Law | None) -> "Tensor":
    """The grid of starts, (pairs of exponents, levels, 5), or the one start `near`."""
    import torch

    if near:
        starts = [[[*map(math.log, (near.a, near.b, near.floor)), near.alpha, near.beta]]]
    else:
        pairs = product(EXPONENTS, EXPONENTS)
        starts = [[[*level, *pair] for level in product(*LEVELS)] for pair in pairs]
    return torch.tensor(starts, dtype=torch.float64)


def _descend(error: "Callable[[Tensor], Tensor]", start: "Tensor", steps: int) -> "Tensor":
    """Where L-BFGS comes to from a start."""
    import torch

    theta = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [theta], max_iter=steps, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> "Tensor":
        theta.grad = None
        loss = error(theta) / DELTA  # near 1, which the tolerances are meant for
        loss.backward()
        return loss

    optimizer.step(closure)
    return theta.detach()


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
