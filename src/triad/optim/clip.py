"""Gradient clipping, with the same result in every layout.

Each takes the whole gradient, its norm, and the role of each parameter by name, and clips in place.
"""

import torch
from torch import Tensor

from triad.layers.parameters import ROLES, Role
from triad.layers.ranges import PositiveFloat
from triad.optim.gradient import Gradient

LEAST = 1e-6  # added to norms before dividing by them


class Norm:
    """Scale the whole gradient so that its norm is at most `largest`; null: leave it.

    g <- g min(1, c / |g|)      Pascanu et al. 2013, arXiv:1211.5063, algorithm 1
    """

    def __init__(self, largest: PositiveFloat | None) -> None:
        check_largest(largest)
        self.largest = largest

    def __call__(self, gradient: Gradient, norm: Tensor, roles: dict[str, Role]) -> None:
        if self.largest is not None:
            torch._foreach_mul_(gradient.local(), (self.largest / (norm + LEAST)).clamp(max=1.0))


class Value:
    """Keep each number of the gradient between -`largest` and `largest`.

    g_i <- min(max(g_i, -c), c)      Mikolov 2012, thesis, section 3.2.2; named in Pascanu et al. 2013
    """

    uses = ("gradients",)

    def __init__(self, largest: PositiveFloat) -> None:
        check_largest(largest)
        self.largest = largest

    def __call__(self, gradient: Gradient, norm: Tensor, roles: dict[str, Role]) -> None:
        here = gradient.local()
        torch._foreach_clamp_max_(here, self.largest)
        torch._foreach_clamp_min_(here, -self.largest)


class RoleNorm:
    """Scale the gradient of each role separately, so that its norm is at most `largest`.

        g_r <- g_r min(1, c / |g_r|), r = matrix, embedding, ...      Pascanu et al. 2013, algorithm 1

    A spike in the embedding's gradient then does not shrink the step of the matrices.
    """

    uses = ("gradients",)

    def __init__(self, largest: PositiveFloat) -> None:
        check_largest(largest)
        self.largest = largest

    def __call__(self, gradient: Gradient, norm: Tensor, roles: dict[str, Role]) -> None:
        sets = [{name for name, role in roles.items() if role == one} for one in ROLES]
        scales = (self.largest / (gradient.norms(gradient.tensors, sets) + LEAST)).clamp(max=1.0)
        for names, scale in zip(sets, scales, strict=True):
            if here := gradient.local(names):
                torch._foreach_mul_(here, scale)


def check_largest(largest: float | None) -> None:
    if largest is not None and not largest > 0:
        raise ValueError(f"clip.largest={largest}: more than 0, or clip=none")
