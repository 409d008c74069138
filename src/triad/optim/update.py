"""What happens to a step's gradient before the optimizer uses it, and the optimizer's groups."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from triad.layers.parameters import Role
from triad.optim.fine_tuning import FineTuning
from triad.optim.gradient import Gradient
from triad.optim.roles import decay_groups, roles


class Update:
    """Add the penalty's gradient, compute the norm, clip: in this order, once a step, in every layout.

    `regularizer` and `clip` are of conf/regularizer and conf/clip; `decay` names the roles whose weights
    decay; `parametrisation` scales initial weights and learning rates; `fine_tuning` says what is trained.
    `hooks` are called with the complete gradient and its norm before clipping.
    """

    def __init__(
        self,
        regularizer: Callable,
        clip: Any,
        parametrisation: Any,
        decay: list[str],
        fine_tuning: FineTuning | None = None,
    ) -> None:
        self.regularizer, self.clip, self.parametrisation = regularizer, clip, parametrisation
        self.decay, self.fine_tuning = decay, fine_tuning
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

    def fit(self, model: nn.Module, make: Callable) -> None:
        """Look at a single-device model, which may be on meta and is made by `make`, before it is split."""
        self.parametrisation.fit(model, make)
        if self.fine_tuning:
            self.fine_tuning.fit(model)

    def groups(self, model: nn.Module, weight_decay: float) -> list[dict]:
        """The optimizer's groups of parameters. Raises ValueError where this process has none to train."""
        multiplier = self.fine_tuning.rate if self.fine_tuning else None
        groups = decay_groups(model, weight_decay, self.decay, self.parametrisation.rate, multiplier)
        if not groups:
            raise ValueError(
                "finetuning.freeze leaves nothing to train in the layers of one process: freeze less, or use "
                "fewer stages (strategy.pipeline)"
            )
        return groups
