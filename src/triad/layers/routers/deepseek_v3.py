"""Sigmoid routing, balanced by a bias. Shapes: B batch, T time, D width, E experts, G groups, k choices."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from triad.layers.ranges import NonNegativeFloat, PositiveFloat, PositiveInt
from triad.layers.routing import Routing, TokensChoose, entropy, length, load, local_sums, logits, mean


class DeepSeekV3(nn.Module):
    """Each token goes to its k best experts of its best groups; a bias without a gradient balances the load.

        s = sigmoid(W x),   chosen = top-k of s + b,   w_e = scale s_e / sum_chosen s
        DeepSeek-AI 2024, arXiv:2412.19437, eq. 12-16
        b_e <- b_e + speed sign(mean load - load_e), once a step      section 2.1.2
        auxiliary = balance sum_e f_e P_e,   f_e = E / (k T) sum_t [s_te in top-k of s_t],
        P_e = mean_t s_te / sum_j s_tj                                eq. 17-20

    Losses of layers are added up. Experts form `groups` of neighbours; only the `top_groups` of them may be
    chosen whose best k / top_groups values of s + b have the largest sums. The caller counts the load of a
    whole step and calls `rebalance`.
    Raises ValueError if groups do not divide the experts or too few experts are left to choose from.
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")
    roles = {"weight": "router"}
    starts = {"bias": 0.0}
    bias: Tensor

    def __init__(
        self,
        width: PositiveInt,
        experts: PositiveInt,
        top_k: PositiveInt,
        groups: PositiveInt,
        top_groups: PositiveInt,
        scale: PositiveFloat,
        speed: NonNegativeFloat,
        balance: NonNegativeFloat,
    ) -> None:
        super().__init__()
        _check_groups(experts, top_k, groups, top_groups)
        self.top_k, self.groups, self.top_groups = top_k, groups, top_groups
        self.scale, self.speed, self.balance = scale, speed, balance
        self.weight = nn.Parameter(torch.empty(experts, width))
        self.register_buffer("bias", torch.empty(experts))
        self.sequence_sums: Callable[..., tuple[Tensor, ...]] = local_sums

    def forward(
        self, x_BTD: Tensor, tokens_BT: Tensor | None = None, real_BT: Tensor | None = None
    ) -> tuple[TokensChoose, Callable[[], Routing]]:
        score_BTE = logits(x_BTD, self.weight).sigmoid()
        expert_BTk = self._mask_groups(score_BTE.detach() + self.bias).topk(self.top_k, dim=-1).indices
        weight_BTk = score_BTE.gather(-1, expert_BTk)
        weight_BTk = self.scale * weight_BTk / weight_BTk.sum(-1, keepdim=True)
        experts = score_BTE.shape[-1]

        def make_routing() -> Routing:
            probability_BTE = score_BTE / score_BTE.sum(-1, keepdim=True)
            wanted_BTk = score_BTE.topk(self.top_k, dim=-1).indices
            asked_BE, length_B1 = self.sequence_sums(
                load(wanted_BTk, score_BTE, real_BT), length(score_BTE, real_BT)
            )
            share_BE = asked_BE / (self.top_k * length_B1.clamp_min(1))
            balance_B = (share_BE * mean(probability_BTE, real_BT, length_B1)).sum(-1) * experts
            return Routing(
                self.balance * balance_B,
                load(expert_BTk, score_BTE, real_BT),
                entropy(probability_BTE, real_BT, length_B1),
                torch.zeros_like(balance_B),
            )

        return TokensChoose(expert_BTk, weight_BTk, experts), make_routing

    @torch.no_grad()
    def rebalance(self, load_E: Tensor) -> None:
        """Raise the bias of experts with less than the mean load of a step, lower that of the others."""
        self.bias += (self.speed * (load_E.mean() - load_E).sign()).to(self.bias.dtype)

    def _apply(self, fn: Callable, recurse: bool = True) -> "DeepSeekV3":
        """What `to` and `to_empty` call: the bias stays in fp32 or better, as its steps are lost in bf16."""
        super()._apply(fn, recurse)
        self.bias = self.bias.to(torch.promote_types(self.bias.dtype, torch.float32))
        return self

    def _mask_groups(self, biased_BTE: Tensor) -> Tensor:
        """The values in the best groups; -inf in the others."""
        if self.top_groups == self.groups:
            return biased_BTE
        biased_BTGe = biased_BTE.unflatten(-1, (self.groups, -1))
        best = biased_BTGe.topk(max(1, self.top_k // self.top_groups), dim=-1).values.sum(-1)
        chosen = torch.zeros_like(best, dtype=torch.bool).scatter_(
            -1, best.topk(self.top_groups, dim=-1).indices, True
        )
        return biased_BTGe.masked_fill(~chosen[..., None], float("-inf")).flatten(-2)


def _check_groups(experts: int, top_k: int, groups: int, top_groups: int) -> None:
    if experts % groups:
        raise ValueError(f"router.groups={groups} does not divide experts={experts}")
    if not 1 <= top_groups <= groups:
        raise ValueError(f"router.top_groups={top_groups} must lie between 1 and router.groups={groups}")
    if not 1 <= top_k <= experts // groups * top_groups:
        raise ValueError(
            f"router.top_k={top_k} must lie between 1 and the {experts // groups * top_groups} experts of "
            f"router.top_groups={top_groups} groups"
        )
    if top_k // top_groups > experts // groups:
        raise ValueError(f"router.top_k={top_k} is too many for groups of {experts // groups} experts")
