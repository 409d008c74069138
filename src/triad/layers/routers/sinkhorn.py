"""Balanced assignment as optimal transport. Shapes: B batch, T time, D width, E experts."""

import torch
from torch import Tensor, nn

from triad.layers.routing import Routing, TokensChoose, entropy, load, logits, real


class Sinkhorn(nn.Module):
    """Each token goes to the expert that a balanced plan of its sequence gives it most of.

        plan = argmax_{P >= 0, P 1 = 1, P^T 1 = T / E} sum_te P_te L_te + H(P),   L = W x
        y = p_i E_i(x),   i = argmax_e plan_e,   p = softmax(L)
        Clark et al. 2022, arXiv:2202.01169, section 3.1 (S-BASE)

    The plan is found by Sinkhorn's iterations, which scale columns and rows in turn (Cuturi 2013,
    arXiv:1306.0895); the exact assignment is BASE (Lewis et al. 2021, arXiv:2103.16716). No gradient passes
    through the plan. It looks at the whole sequence: for encoders only. Outside training the choice is
    argmax p, as in both papers. Padding has no part in a plan. Deviates: a plan for each sequence, not for a
    batch. Raises ValueError for iterations < 1.
    """

    top_k = 1

    def __init__(self, width: int, experts: int, iterations: int) -> None:
        super().__init__()
        if iterations < 1:
            raise ValueError(f"router.iterations={iterations}: use 1 or more")
        self.iterations = iterations
        self.weight = nn.Parameter(torch.empty(experts, width))

    def forward(self, x_BTD: Tensor, tokens_BT: Tensor | None = None) -> tuple[TokensChoose, Routing]:
        logits_BTE, real_BT = logits(x_BTD, self.weight), real(x_BTD, tokens_BT)
        probability_BTE = logits_BTE.softmax(-1)
        wanted_BTE = log_plan(logits_BTE, real_BT, self.iterations) if self.training else logits_BTE
        expert_BT1 = wanted_BTE.argmax(-1, keepdim=True)
        nothing_B = probability_BTE.new_zeros(len(x_BTD))
        load_BE, entropy_B = load(expert_BT1, probability_BTE, real_BT), entropy(probability_BTE, real_BT)
        routing = Routing(nothing_B, load_BE, entropy_B, nothing_B)
        weight_BT1 = probability_BTE.gather(-1, expert_BT1)
        return TokensChoose(expert_BT1, weight_BT1, logits_BTE.shape[-1]), routing


@torch.no_grad()
def log_plan(logits_BTE: Tensor, real_BT: Tensor, iterations: int) -> Tensor:
    """The logarithm of the plan: rows (tokens) add up to 1, and columns (experts) to nearly T / E."""
    padding_BT1, nothing = ~real_BT[..., None], torch.finfo(logits_BTE.dtype).min
    share_B11 = real_BT.sum(1).clamp_min(1).to(logits_BTE.dtype)[:, None, None] / logits_BTE.shape[-1]
    for _ in range(iterations):
        column_B1E = logits_BTE.masked_fill(padding_BT1, nothing).logsumexp(1, keepdim=True)
        logits_BTE = logits_BTE - column_B1E + share_B11.log()
        logits_BTE = logits_BTE - logits_BTE.logsumexp(2, keepdim=True)
    return logits_BTE
