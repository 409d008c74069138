"""Schedule-free AdamW: an average of all weights in place of a decaying learning rate."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from triad.layers.ranges import DecayRate, NonNegativeFloat
from triad.optim.sharded import check_decay_rate, evaluate, local_gradients, local_tensors, select_parameters

Algorithm = Literal["package", "paper"]


class ScheduleFree(Optimizer):
    """Take the gradient at a point between the fast weights z and their average x; x is validated.

        y_t = (1 - b1) z_t + b1 x_t,   v_t = b2 v_{t-1} + (1 - b2) g_t^2,   g_t = grad f(y_t)
        z_{t+1} = z_t - r_t (g_t / (sqrt(u_t) + eps) + decay y_t)
        x_{t+1} = (1 - c_t) x_t + c_t z_{t+1},   c_t = m_t^2 / sum_{i <= t} m_i^2,   m_t = max_{i <= t} r_i

        package   r_t = lr_t,   u_t = v_t / (1 - b2^t)      AdamWScheduleFree of the authors' schedulefree
        paper     r_t = lr_t sqrt(1 - b2^t),   u_t = v_t    Defazio et al. 2024, arXiv:2405.15682, algorithm 1

    The paper weighs by r_t^2, which is m_t^2 while the rate does not fall. The model's weights are y; x
    follows from y and z, see `average`. Where weights are narrower than fp32, the state holds y in fp32, too.
    The rate stays after a warm-up, which is scheduler=constant.
    """

    averages = True
    needs = {"callbacks.shows": ("average",), "scheduler.stays": (True,)}

    def __init__(
        self,
        params: Iterable,
        lr: NonNegativeFloat,
        betas: tuple[DecayRate, DecayRate],
        eps: NonNegativeFloat,
        weight_decay: NonNegativeFloat,
        algorithm: Algorithm,
    ) -> None:
        if not 0 < betas[0] < 1:
            raise ValueError(f"optimizer.betas={betas}: the first is above 0 and below 1")
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.betas, self.eps = (betas[0], check_decay_rate("betas", betas[1])), eps
        self.algorithm = algorithm

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
        rates, corrections, shares = zip(*(self._weigh(self.state[p], lr) for p in parameters), strict=True)
        y = local_tensors(map(self._exact, parameters))
        found = [g.to(exact.dtype) for g, exact in zip(local_gradients(parameters), y, strict=True)]
        z, v = (local_tensors(self.state[p][key] for p in parameters) for key in ("fast", "square"))
        torch._foreach_mul_(v, b2)
        torch._foreach_addcmul_(v, found, found, value=1 - b2)
        below = torch._foreach_div(v, corrections)
        torch._foreach_sqrt_(below)
        torch._foreach_add_(below, self.eps)
        moves = torch._foreach_div(found, below)
        torch._foreach_add_(moves, y, alpha=decay)
        torch._foreach_mul_(moves, rates)
        torch._foreach_lerp_(y, z, shares)  # the new y without x: (1 - c) y + c z - (1 - b1 (1 - c)) moves
        torch._foreach_sub_(z, moves)
        torch._foreach_mul_(moves, [1 - b1 * (1 - share) for share in shares])
        torch._foreach_sub_(y, moves)
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
        counts = {"step": torch.zeros(())} | {
            key: torch.zeros((), dtype=y.dtype) for key in ("peak", "weight")
        }
        return kept | counts | {"fast": y.clone(), "square": torch.zeros_like(y)}

    def _weigh(self, state: dict[str, Tensor], lr: float) -> tuple[float, float, float]:
        """r_t, u_t's divisor and c_t of this step."""
        state["step"] += 1
        correction = 1 - self.betas[1] ** state["step"].item()
        rate, below = (lr, correction) if self.algorithm == "package" else (lr * correction**0.5, 1.0)
        state["peak"].clamp_(min=rate)
        peak = state["peak"].item()
        state["weight"] += peak**2
        return rate, below, peak**2 / state["weight"].item() if peak else 0.0
