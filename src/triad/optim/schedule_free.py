"""Schedule-free AdamW: an average of all weights in place of a decaying learning rate."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from triad.optim.sharded import check_decay_rate, evaluate, local_gradients, local_tensors, select_parameters


class ScheduleFree(Optimizer):
    """Take the gradient at a point between the fast weights z and their average x; x is validated.

        y_t = (1 - b1) z_t + b1 x_t,   v_t = b2 v_{t-1} + (1 - b2) g_t^2,   g_t = grad f(y_t)
        r_t = lr_t sqrt(1 - b2^t),   z_{t+1} = z_t - r_t g_t / (sqrt(v_t) + eps) - r_t decay y_t
        x_{t+1} = (1 - c) x_t + c z_{t+1},   c = r_t^2 / sum_{i <= t} r_i^2
                                                    Defazio et al. 2024, arXiv:2405.15682, algorithm 1

    The model's weights are y; x follows from y and z, see `average`. Where weights are narrower than fp32,
    the state holds y in fp32, too. To be used with scheduler=constant, whose warm-up is the paper's.
    """

    averages = True
    needs = {"callbacks.shows": ("average",)}

    def __init__(
        self, params: Iterable, lr: float, betas: tuple[float, float], eps: float, weight_decay: float
    ) -> None:
        if not 0 < betas[0] < 1:
            raise ValueError(f"optimizer.betas={betas}: the first is above 0 and below 1")
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.betas, self.eps = (betas[0], check_decay_rate("betas", betas[1])), eps

    def average(self, p: Tensor) -> Tensor:
        """x of a parameter, in the parameter's own layout, in fp32 where the parameter is narrower."""
        y = self._exact(p)
        z = self.state.get(p, {}).get("fast")
        return y.clone() if z is None else torch.lerp(z, y, 1 / self.betas[0])

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Any:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = evaluate(closure)
        for group in self.param_groups:
            if parameters := select_parameters(group):
                self._update(parameters, group["lr"], group["weight_decay"])
        return loss

    def _update(self, parameters: list[Tensor], lr: float, decay: float) -> None:
        b1, b2 = self.betas
        for p in parameters:
            if "step" not in self.state[p]:
                self.state[p] |= self._start(p)
        rates, shares = zip(*(self._weigh(self.state[p], lr) for p in parameters), strict=True)
        y = local_tensors(map(self._exact, parameters))
        found = [g.to(exact.dtype) for g, exact in zip(local_gradients(parameters), y, strict=True)]
        z, v = (local_tensors(self.state[p][key] for p in parameters) for key in ("fast", "square"))
        torch._foreach_mul_(v, b2)
        torch._foreach_addcmul_(v, found, found, value=1 - b2)
        below = torch._foreach_sqrt(v)
        torch._foreach_add_(below, self.eps)
        moves = torch._foreach_div(found, below)
        torch._foreach_add_(moves, y, alpha=decay)
        torch._foreach_mul_(moves, rates)
        x = torch._foreach_lerp(z, y, 1 / b1)
        torch._foreach_sub_(z, moves)
        torch._foreach_lerp_(x, z, shares)
        torch._foreach_copy_(y, torch._foreach_lerp(z, x, b1))
        for p, exact in zip(local_tensors(parameters), y, strict=True):
            if p.dtype != exact.dtype:
                p.copy_(exact)

    def _exact(self, p: Tensor) -> Tensor:
        """y of a parameter, in fp32 where the parameter is narrower: x would stand still."""
        if "exact" in (state := self.state.get(p, {})):
            return state["exact"]
        return p.detach().to(torch.promote_types(p.dtype, torch.float32))

    def _start(self, p: Tensor) -> dict[str, Tensor]:
        y = self._exact(p)
        kept = {} if y.dtype == p.dtype else {"exact": y}
        counts = {"step": torch.zeros(()), "weight": torch.zeros((), dtype=y.dtype)}
        return kept | counts | {"fast": y.clone(), "square": torch.zeros_like(y)}

    def _weigh(self, state: dict[str, Tensor], lr: float) -> tuple[float, float]:
        """r_t and c of this step."""
        state["step"] += 1
        rate = lr * (1 - self.betas[1] ** state["step"].item()) ** 0.5
        state["weight"] += rate**2
        return rate, rate**2 / state["weight"].item() if rate else 0.0
