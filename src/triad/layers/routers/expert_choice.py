"""Experts that choose their tokens. Shapes: B batch, T time, D width, E experts, S tokens of an expert."""

import math

import torch
from torch import Tensor, nn

from triad.layers.routing import ExpertsChoose, Routing, capacity, entropy, logits, mean, real


class ExpertChoice(nn.Module):
    """Each expert takes the S = T / E * capacity tokens of a sequence that suit it best.

        p = softmax(W_g x) over experts,   G, I = top-S of p along time,
        y_t = sum_{e, i: I_ei = t} G_ei E_e(x_t)
        Zhou et al. 2022, arXiv:2202.09368, eq. 1-3

    Balanced by construction, so without an auxiliary loss; `dropped` is the share of tokens that none took.
    It looks at the whole sequence: for encoders only. Padding is not chosen. Deviates: chooses in each
    sequence, not in a batch. Raises ValueError for capacity <= 0.
    """

    def __init__(self, width: int, experts: int, capacity: float) -> None:
        super().__init__()
        self.capacity = self.top_k = capacity  # a token meets so many experts, on average
        self.weight = nn.Parameter(torch.empty(experts, width))

    def forward(self, x_BTD: Tensor, tokens_BT: Tensor | None = None) -> tuple[ExpertsChoose, Routing]:
        probability_BTE = logits(x_BTD, self.weight).softmax(-1)
        batch, time, experts = probability_BTE.shape
        real_BT = real(x_BTD, tokens_BT)
        time_B = real_BT.sum(1)
        each_B = capacity(self.capacity, time_B, experts).minimum(time_B)
        most = min(time, math.ceil(time / experts * self.capacity))  # of any sequence: shapes know no data
        liked_BTE = probability_BTE.masked_fill(~real_BT[..., None], -1)
        weight_BES, token_BES = liked_BTE.mT.topk(most, dim=-1)
        takes_BES = (torch.arange(most, device=each_B.device) < each_B[:, None, None]).expand_as(token_BES)
        weight_BES = weight_BES * takes_BES
        taken_BT = weight_BES.new_zeros(batch, time)
        taken_BT = taken_BT.scatter_add_(1, token_BES.flatten(1), takes_BES.flatten(1).to(taken_BT.dtype))
        routing = Routing(
            weight_BES.new_zeros(batch),
            takes_BES.sum(-1).to(weight_BES.dtype),
            entropy(probability_BTE, real_BT),
            mean((taken_BT == 0).to(weight_BES.dtype)[..., None], real_BT)[:, 0],
        )
        return ExpertsChoose(token_BES, weight_BES), routing
