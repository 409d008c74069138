"""Adafactor: Adam's second moments in a row and a column for each matrix. Shapes: M rows, N columns."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from triad.layers.ranges import NonNegativeFloat, PositiveFloat, UnitInterval
from triad.optim.sharded import (
    all_reduce,
    evaluate,
    local,
    local_gradients,
    local_tensors,
    mean_squares,
    select_parameters,
    sharding_axes,
    zeros_without,
)


class Adafactor(Optimizer):
    """Divide the gradient by a second moment of rank one, clip the update, scale it to the weights.

        R_t = b_t R_{t-1} + (1 - b_t) (G_t^2 + eps_1) 1_N
        C_t = b_t C_{t-1} + (1 - b_t) 1_M' (G_t^2 + eps_1)
        V_t = R_t C_t / (1_M' R_t),   U_t = G_t / sqrt(V_t),   b_t = 1 - t^-decay_exponent
        X_t = X_{t-1} - max(eps_2, RMS(X_{t-1})) lr U_t / max(1, RMS(U_t) / clip)
                                                    Shazeer & Stern 2018, arXiv:1804.04235, algorithms 4 and 5

    A vector keeps V_t whole. Each expert is a matrix of its own. `lr` times the schedule is the paper's
    relative step size rho_t = min(0.01, 1 / sqrt(t)), which scheduler=inverse_sqrt resembles. Weight decay,
    decoupled, is not in the paper. Not torch.optim.Adafactor: that one puts eps_1 elsewhere, caps lr by
    1 / sqrt(t) behind the schedule's back, and does not know sharded tensors.
    """

    def __init__(
        self,
        params: Iterable,
        lr: NonNegativeFloat,
        eps: tuple[NonNegativeFloat, NonNegativeFloat],
        clip: PositiveFloat,
        decay_exponent: UnitInterval,
        weight_decay: NonNegativeFloat,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.eps, self.clip, self.decay_exponent = eps, clip, decay_exponent

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
        sizes = mean_squares(weights, parameters)
        updates = [
            g / v.sqrt()
            for g, v in zip(local_gradients(parameters), self._second_moments(parameters), strict=True)
        ]
        clipped = mean_squares(updates, parameters)
        for weight, update, size, square in zip(weights, updates, sizes, clipped, strict=True):
            rate = lr * size.sqrt().clamp(min=self.eps[1]) / (square.sqrt() / self.clip).clamp(min=1.0)
            weight.mul_(1 - lr * decay).sub_(update * rate)

    def _second_moments(self, parameters: list[Tensor]) -> list[Tensor]:
        squares = [g.square() + self.eps[0] for g in local_gradients(parameters)]
        news = [self._next_step(p) ** -self.decay_exponent for p in parameters]
        matrices = [number for number, p in enumerate(parameters) if p.ndim > 1]
        ours, theirs = [parameters[n] for n in matrices], [squares[n] for n in matrices]
        factors = self._factor(ours, theirs, [news[n] for n in matrices])
        found = dict(zip(matrices, factors, strict=True))
        for number, p in enumerate(parameters):
            if number not in found:
                square = self.state[p].setdefault("square", torch.zeros_like(p))
                found[number] = local(square).lerp_(squares[number], news[number])
        return [found[number] for number in range(len(parameters))]

    def _factor(self, matrices: list[Tensor], squares: list[Tensor], news: list[float]) -> list[Tensor]:
        """R C / mean(R), of means in place of sums, which is the same."""
        rows = self._update_means("row", -1, matrices, squares, news)
        columns = self._update_means("column", -2, matrices, squares, news)
        means = [row.sum(-1, keepdim=True) / p.shape[-2] for row, p in zip(rows, matrices, strict=True)]
        all_reduce(means, [sharding_axes(p, (p.ndim - 2,)) for p in matrices])
        return [
            (row / mean)[..., None] * column[..., None, :]
            for row, mean, column in zip(rows, means, columns, strict=True)
        ]

    def _update_means(
        self, key: str, dim: int, matrices: list[Tensor], squares: list[Tensor], news: list[float]
    ) -> list[Tensor]:
        """The running mean of squares along a dimension."""
        found = [square.sum(dim) / p.shape[dim] for square, p in zip(squares, matrices, strict=True)]
        all_reduce(found, [sharding_axes(p, (p.ndim + dim,)) for p in matrices])
        for p in matrices:
            if key not in self.state[p]:
                self.state[p][key] = zeros_without(p, dim)
        kept = local_tensors(self.state[p][key] for p in matrices)
        for average, mean, new in zip(kept, found, news, strict=True):
            average.lerp_(mean, new)
        return kept

    def _next_step(self, p: Tensor) -> float:
        step = self.state[p].setdefault("step", torch.zeros(()))
        step += 1
        return step.item()
