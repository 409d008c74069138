"""Penalties on the size of weights, added to the loss by adding their gradients, once a step.

They are no term of the loss, because each micro-batch and process would add it again and sharded weights
would have to be gathered. Each takes the whole gradient and the role of each parameter by name, adds to the
gradient in place and returns the penalty, which is the same number in every layout.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from triad.layers.parameters import ROLES, Role
from triad.layers.ranges import NonNegativeFloat
from triad.optim.gradient import Gradient


class Unpenalized:
    """No penalty."""

    def __call__(self, gradient: Gradient, roles: dict[str, Role]) -> Tensor | None:
        return None


class L1:
    """strength x sum |w|, whose gradient is strength x sign(w)      Tibshirani 1996 (lasso), eq. 2."""

    uses = ("gradients",)

    def __init__(self, strength: NonNegativeFloat, roles: list[str]) -> None:
        self.strength, self.roles = check_strength(strength), check_roles(roles)

    def __call__(self, gradient: Gradient, roles: dict[str, Role]) -> Tensor | None:
        weights = select_weights(gradient, roles, self.roles)
        add_derivative(gradient, weights, torch._foreach_sign, self.strength)
        return self.strength * gradient.sum(weights, lambda w: torch.linalg.vector_norm(w, 1))


class L2:
    """strength / 2 x sum w^2, with the gradient strength x w      Hoerl and Kennard 1970 (ridge), eq. 2.3.

    Under Adam not the same as decoupled weight decay: Loshchilov & Hutter 2019, arXiv:1711.05101, section 2.
    """

    uses = ("gradients",)
    needs = {"optimizer.weight_decay": (0, None)}  # weight decay would shrink them, too

    def __init__(self, strength: NonNegativeFloat, roles: list[str]) -> None:
        self.strength, self.roles = check_strength(strength), check_roles(roles)

    def __call__(self, gradient: Gradient, roles: dict[str, Role]) -> Tensor | None:
        weights = select_weights(gradient, roles, self.roles)
        add_derivative(gradient, weights, list, self.strength)
        return self.strength / 2 * gradient.sum(weights, lambda w: torch.linalg.vector_norm(w).square())


def select_weights(gradient: Gradient, roles: dict[str, Role], wanted: set[str]) -> dict[str, Tensor]:
    """The weights of some roles that have a gradient."""
    return {name: p.detach() for name, p in gradient.parameters.items() if roles[name] in wanted}


def add_derivative(
    gradient: Gradient, weights: dict[str, Tensor], derivative: Callable, strength: float
) -> None:
    """g <- g + strength x derivative(w), on the local shards."""
    if weights:
        torch._foreach_add_(
            gradient.local(weights), derivative(gradient.local_tensors(weights)), alpha=strength
        )


def check_strength(strength: float) -> float:
    if not strength >= 0:
        raise ValueError(f"regularizer.strength={strength}: at least 0")
    return strength


def check_roles(roles: list[str]) -> set[str]:
    if strange := [role for role in roles if role not in ROLES]:
        raise ValueError(f"regularizer.roles has {strange[0]}: use {', '.join(ROLES)}")
    return set(roles)
