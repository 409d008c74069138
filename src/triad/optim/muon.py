"""Muon: matrices move by orthogonal updates. Shapes: K matrices of a stack, E experts, M rows, N columns."""

from collections.abc import Callable, Iterable
from math import sqrt
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from triad.layers.ranges import DecayRate, NonNegativeFloat, PositiveInt
from triad.optim.auxiliary_adamw import AuxiliaryAdamW, matrix_groups, split_by_role
from triad.optim.newton_schulz import Dtype, fast_dtype, orthogonalise
from triad.optim.sharded import (
    check_decay_rate,
    evaluate,
    group_by_layout,
    local_gradients,
    local_tensors,
    select_parameters,
    to_full_matrices,
    to_shards,
)

Scale = Literal["match_rms_adamw", "original"]


class Muon(Optimizer):
    """Orthogonalise the momentum of each hidden matrix; AdamW for embeddings, head, vectors and routers.

        B_t = mu B_{t-1} + (1 - mu) G_t,   O_t = NewtonSchulz(mu B_t + (1 - mu) G_t)
        W_t = (1 - lr decay) W_{t-1} - lr s O_t
        s = sqrt(max(1, d_out / d_in))   original      Jordan et al. 2024, kellerjordan.github.io/posts/muon
        s = 0.2 sqrt(max(d_out, d_in))   match_rms_adamw      Liu et al. 2025, arXiv:2502.16982, eq. 4

    With the second the update is as large as AdamW's, so that one `lr` serves for both. Without Nesterov the
    argument is B_t. Each expert is a matrix of its own. The momentum is an average, not a sum, which has the
    same direction. `adam_lr` (null: `lr`) is the rate of AdamW's parameters, `embedding_lr` and `head_lr`
    (null: adam_lr) those of embeddings and head. Each sharded matrix is orthogonalised by one process.
    """

    def __init__(
        self,
        params: Iterable[dict],
        lr: NonNegativeFloat,
        momentum: DecayRate,
        nesterov: bool,
        weight_decay: NonNegativeFloat,
        scale: Scale,
        newton_schulz_steps: PositiveInt,
        newton_schulz_dtype: Dtype,
        adam_lr: NonNegativeFloat | None,
        embedding_lr: NonNegativeFloat | None,
        head_lr: NonNegativeFloat | None,
        adam_betas: tuple[DecayRate, DecayRate],
        adam_eps: NonNegativeFloat,
    ) -> None:
        super().__init__(split_by_role(params), {"lr": lr, "weight_decay": weight_decay})
        self.momentum, self.nesterov, self.scale = check_decay_rate("momentum", momentum), nesterov, scale
        self.newton_schulz_steps, self.newton_schulz_dtype = newton_schulz_steps, newton_schulz_dtype
        own = {"embedding": embedding_lr, "head": head_lr}
        self.adamw = AuxiliaryAdamW(self, adam_lr, adam_betas, adam_eps, own)

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Any:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = evaluate(closure)
        for group in matrix_groups(self):
            for matrices in group_by_layout(select_parameters(group)):
                self._update(matrices, group)
        self.adamw.step()
        return loss

    def _update(self, matrices: list[Tensor], group: dict) -> None:
        for p in matrices:
            if "momentum" not in self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        momenta = local_tensors(self.state[p]["momentum"] for p in matrices)
        weights, found = local_tensors(matrices), local_gradients(matrices)
        torch._foreach_lerp_(momenta, found, 1 - self.momentum)
        directions = torch._foreach_lerp(found, momenta, self.momentum) if self.nesterov else momenta
        update = self._orthogonalise(to_full_matrices(directions, matrices[0]))
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        step = -group["lr"] * self._scale_factor(matrices[0], group["role"])
        torch._foreach_add_(weights, to_shards(update, matrices[0], len(matrices)), alpha=step)

    def _orthogonalise(self, x: Tensor) -> Tensor:
        dtype = fast_dtype(x.device, self.newton_schulz_dtype, x.dtype)
        matrices = x.reshape(-1, *x.shape[-2:])
        return orthogonalise(matrices, self.newton_schulz_steps, dtype).reshape(x.shape).to(x.dtype)

    def _scale_factor(self, p: Tensor, role: str) -> float:
        rows, columns = p.shape[-2:]
        outputs, inputs = (
            (columns, rows) if role == "expert" else (rows, columns)
        )  # experts multiply from the right
        if self.scale == "original":
            return sqrt(max(1, outputs / inputs))
        return 0.2 * sqrt(max(outputs, inputs))
