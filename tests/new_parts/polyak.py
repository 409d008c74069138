"""An optimizer that keeps an average of the weights."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from triad.optim.sharded import evaluate


class Polyak(Optimizer):
    """Gradient descent, and the plain mean of all weights so far      Polyak and Juditsky 1992."""

    averages = True
    needs = {"callbacks.shows": ("average",)}
    by_element = True

    def __init__(self, params: Iterable, lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    def average(self, p: Tensor) -> Tensor:
        """The mean of a parameter."""
        return self.state[p]["mean"].clone() if p in self.state else p.detach().clone()

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Any:  # type: ignore[override]
        loss = evaluate(closure)
        for group in self.param_groups:
            for p in [p for p in group["params"] if p.grad is not None]:
                state = self.state[p]
                wide = torch.promote_types(p.dtype, torch.float32)
                if not state:
                    state |= {"step": torch.zeros(()), "mean": p.detach().to(wide, copy=True)}
                p -= group["lr"] * p.grad
                state["step"] += 1
                state["mean"].lerp_(p.to(wide), 1 / (1 + state["step"].item()))
        return loss
