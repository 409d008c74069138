"""LAMB: Adam whose step is as large as the layer, for large batches."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from triad.layers.ranges import DecayRate, NonNegativeFloat
from triad.optim.sharded import (
    check_decay_rate,
    evaluate,
    local_gradients,
    local_tensors,
    mean_squares,
    select_parameters,
)


class Lamb(Optimizer):
    """Scale Adam's update of each layer to the norm of its weights.

        r_t = m_t / (sqrt(v_t) + eps),   x_t = x_{t-1} - lr |x| / |r_t + decay x| (r_t + decay x)
                                                        You et al. 2020, arXiv:1904.00962, algorithm 2

    m and v are Adam's averages, corrected for their bias. A layer is a matrix; each expert is one. phi is the
    identity. As in the authors' code, vectors are updated by r_t alone, and so are weights whose norm is 0.
    """

    def __init__(
        self,
        params: Iterable,
        lr: NonNegativeFloat,
        betas: tuple[DecayRate, DecayRate],
        eps: NonNegativeFloat,
        weight_decay: NonNegativeFloat,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.betas, self.eps = (check_decay_rate("betas", betas[0]), check_decay_rate("betas", betas[1])), eps

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Any:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = evaluate(closure)
        for group in self.param_groups:
            if parameters := select_parameters(group):
                self._update(parameters, group["lr"], group["weight_decay"])
        return loss

    def _update(self, parameters: list[Tensor], lr: float, decay: float) -> None:
        weights = local_tensors(parameters)
        updates = self._adam(parameters)
        torch._foreach_add_(updates, weights, alpha=decay)
        sizes = zip(mean_squares(weights, parameters), mean_squares(updates, parameters), strict=True)
        for p, update, (of_weight, of_update) in zip(parameters, updates, sizes, strict=True):
            if p.ndim > 1:
                both = (of_weight > 0) & (of_update > 0)
                update.mul_(torch.where(both, (of_weight / of_update).sqrt(), 1.0))
        torch._foreach_add_(weights, updates, alpha=-lr)

    def _adam(self, parameters: list[Tensor]) -> list[Tensor]:
        """m / (sqrt(v) + eps), corrected for bias."""
        for p in parameters:
            if "step" not in self.state[p]:
                averages = {"average": torch.zeros_like(p), "square": torch.zeros_like(p)}
                self.state[p] |= {"step": torch.zeros(())} | averages
            self.state[p]["step"] += 1
        counts = [self.state[p]["step"].item() for p in parameters]
        averages = local_tensors(self.state[p]["average"] for p in parameters)
        squares = local_tensors(self.state[p]["square"] for p in parameters)
        found, (b1, b2) = local_gradients(parameters), self.betas
        torch._foreach_lerp_(averages, found, 1 - b1)
        torch._foreach_mul_(squares, b2)
        torch._foreach_addcmul_(squares, found, found, value=1 - b2)
        below = torch._foreach_div(squares, [1 - b2**count for count in counts])
        torch._foreach_sqrt_(below)
        torch._foreach_add_(below, self.eps)
        updates = list(torch._foreach_div(averages, [1 - b1**count for count in counts]))
        torch._foreach_div_(updates, below)
        return updates
