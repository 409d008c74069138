"""Experts that choose their tokens. Shapes: B batch, T time, D width, E experts, S tokens of an expert."""

import torch
from torch import Tensor, nn

from triad.layers.routing import ExpertsChoose, Routing, capacity, entropy, logits


class ExpertChoice(nn.Module):
    """Each expert takes the S = T / E * capacity tokens of a sequence that suit it best.

        p = softmax(W_g x) over experts,   G, I = top-S of p along time,
        y_t = sum_{e, i: I_ei = t} G_ei E_e(x_t)
        Zhou et al. 2022, arXiv:2202.09368, eq. 1-3

    Balanced by construction, so without an auxiliary loss; `dropped` is the share of tokens that none took.
    It looks at the whole sequence: for encoders only. Deviates: chooses in each sequence, not in a batch.
    Raises ValueError for capacity <= 0.
    """

    def __init__(self, width: int, experts: int, capacity: float) -> None:
        super().__init__()
        self.capacity = self.top_k = capacity  # a token meets so many experts, on average
        self.weight = nn.Parameter(torch.empty(experts, width))

    def forward(self, x_BTD: Tensor, tokens_BT: Tensor | None = None) -> tuple[ExpertsChoose, Routing]:
        probability_BTE = logits(x_BTD, self.weight).softmax(-1)
        batch, time, experts = probability_BTE.shape
        each = min(time, capacity(self.capacity, time, experts))
        weight_BES, token_BES = probability_BTE.mT.topk(each, dim=-1)
        taken_BT = weight_BES.new_zeros(batch, time).scatter_(1, token_BES.flatten(1), 1.0)
        routing = Routing(
            weight_BES.new_zeros(batch),
            weight_BES.new_full((batch, experts), each),
            entropy(probability_BTE),
            1 - taken_BT.mean(1),
        )
        return ExpertsChoose(token_BES, weight_BES), routing
