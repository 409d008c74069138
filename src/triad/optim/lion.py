"""Lion: the sign of a momentum."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer

from triad.layers.ranges import DecayRate, NonNegativeFloat
from triad.optim.sharded import check_decay_rate, evaluate, local_gradients, local_tensors, select_parameters


class Lion(Optimizer):
    """Move each weight by the learning rate, in the direction of an interpolated momentum.

    W_t = W_{t-1} - lr (sign(b1 M_{t-1} + (1 - b1) G_t) + decay W_{t-1}),   M_t = b2 M_{t-1} + (1 - b2) G_t
                                                    Chen et al. 2023, arXiv:2302.06675, algorithm 2
    """

    by_element = True

    def __init__(
        self,
        params: Iterable,
        lr: NonNegativeFloat,
        betas: tuple[DecayRate, DecayRate],
        weight_decay: NonNegativeFloat,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.betas = check_decay_rate("betas", betas[0]), check_decay_rate("betas", betas[1])

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Any:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = evaluate(closure)
        for group in self.param_groups:
            if parameters := select_parameters(group):
                self._update(parameters, group["lr"], group["weight_decay"])
        return loss

    def _update(self, parameters: list, lr: float, decay: float) -> None:
        for p in parameters:
            if "momentum" not in self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        momenta = local_tensors(self.state[p]["momentum"] for p in parameters)
        weights, found = local_tensors(parameters), local_gradients(parameters)
        directions = torch._foreach_lerp(momenta, found, 1 - self.betas[0])
        torch._foreach_sign_(directions)
        torch._foreach_mul_(weights, 1 - lr * decay)
        torch._foreach_add_(weights, directions, alpha=-lr)
        torch._foreach_lerp_(momenta, found, 1 - self.betas[1])
