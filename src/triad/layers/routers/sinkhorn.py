"""Balanced assignment as optimal transport. Shapes: B batch, T time, D width, E experts."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from triad.layers.ranges import PositiveInt
from triad.layers.routing import Routing, TokensChoose, entropy, load, logits


class Sinkhorn(nn.Module):
    """Each token goes to the expert with the largest share of it in a balanced transport plan.

        plan = argmax_{P >= 0, P 1 = 1, P^T 1 = T / E} sum_te P_te L_te + H(P),   L = W x
        y = p_i E_i(x),   i = argmax_e plan_e,   p = softmax(L)
        Clark et al. 2022, arXiv:2202.01169, section 3.1 (S-BASE)

    The plan is found by Sinkhorn's iterations, which scale columns and rows in turn (Cuturi 2013,
    arXiv:1306.0895); the exact assignment is BASE (Lewis et al. 2021, arXiv:2103.16716). No gradient passes
    through the plan. It looks at the whole sequence: for encoders only. Outside training the choice is
    argmax p, as in both papers. Deviates: a plan for each sequence, not for a batch. Raises ValueError for
    iterations < 1.
    """

    sees = "both sides"  # the expert of a token depends on later tokens
    splits = ("tensor", "pipeline", "expert")
    roles = {"weight": "router"}
    top_k = 1

    def __init__(self, width: PositiveInt, experts: PositiveInt, iterations: PositiveInt) -> None:
        super().__init__()
        if iterations < 1:
            raise ValueError(f"router.iterations={iterations}: use 1 or more")
        self.iterations = iterations
        self.weight = nn.Parameter(torch.empty(experts, width))

    def forward(
        self, x_BTD: Tensor, tokens_BT: Tensor | None = None, real_BT: Tensor | None = None
    ) -> tuple[TokensChoose, Callable[[], Routing]]:
        logits_BTE = logits(x_BTD, self.weight)
        probability_BTE = logits_BTE.softmax(-1)
        wanted_BTE = log_plan(logits_BTE, self.iterations, real_BT) if self.training else logits_BTE
        expert_BT1 = wanted_BTE.argmax(-1, keepdim=True)
        weight_BT1 = probability_BTE.gather(-1, expert_BT1)

        def make_routing() -> Routing:
            nothing_B = probability_BTE.new_zeros(len(x_BTD))
            load_BE = load(expert_BT1, probability_BTE, real_BT)
            return Routing(nothing_B, load_BE, entropy(probability_BTE, real_BT), nothing_B)

        return TokensChoose(expert_BT1, weight_BT1, logits_BTE.shape[-1]), make_routing


@torch.no_grad()
def log_plan(logits_BTE: Tensor, iterations: int, real_BT: Tensor | None) -> Tensor:
    """The logarithm of the plan: rows (tokens) add up to 1, and columns (experts) to nearly T / E.

    Columns are of real tokens; in a row of padding alone, of all.
    """
    if real_BT is None:
        real_BT = torch.ones_like(logits_BTE[..., 0], dtype=torch.bool)
    real_BT1 = (real_BT | ~real_BT.any(1, keepdim=True))[..., None]
    share_B11 = (real_BT1.sum(1, keepdim=True).to(logits_BTE.dtype) / logits_BTE.shape[-1]).log()
    for _ in range(iterations):
        column_B1E = logits_BTE.where(real_BT1, -math.inf).logsumexp(1, keepdim=True)
        logits_BTE = logits_BTE - column_B1E + share_B11
        logits_BTE = logits_BTE - logits_BTE.logsumexp(2, keepdim=True)
    return logits_BTE
