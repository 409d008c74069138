"""What happens to a step's gradient before the optimizer uses it, and the optimizer's groups."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from triad.layers.parameters import Role
from triad.optim.gradient import Gradient
from triad.optim.roles import decay_groups, roles


class Update:
    """Add the penalty's gradient, compute the norm, clip: in this order, once a step, in every layout.

    `regularizer` and `clip` are of conf/regularizer and conf/clip; `decay` names the roles whose weights
    decay; `parametrisation` scales initial weights and learning rates. `hooks` are called with the complete
    gradient and its norm before clipping.
    """

    def __init__(self, regularizer: Callable, clip: Any, parametrisation: Any, decay: list[str]) -> None:
        self.regularizer, self.clip, self.parametrisation = regularizer, clip, parametrisation
        self.decay = decay
        self.hooks: list[Callable[[Gradient, Tensor], None]] = []
        self.roles: dict[str, Role] | None = None  # until the first gradient
        self.penalty: Tensor | None = None  # of the last step, if there is any

    @torch.no_grad()
    def __call__(self, gradient: Gradient) -> Tensor:
        """Change the gradient in place; return its norm before clipping."""
        if self.roles is None:
            self.roles = roles(gradient.model)
        self.penalty = self.regularizer(gradient, self.roles)
        norm = gradient.norm()
        for watch in self.hooks:
            watch(gradient, norm)
        self.clip(gradient, norm, self.roles)
        return norm

    def groups(self, model: nn.Module, weight_decay: float) -> list[dict]:
        """The optimizer's groups of parameters."""
        return decay_groups(model, weight_decay, self.decay, self.parametrisation.rate)
