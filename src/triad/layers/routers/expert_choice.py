"""Experts that choose their tokens. Shapes: B batch, T time, D width, E experts, S tokens of an expert."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from triad.layers.ranges import PositiveFloat, PositiveInt
from triad.layers.routing import ExpertsChoose, Routing, capacity, entropy, logits, mean


class ExpertChoice(nn.Module):
    """Each expert takes the S = T / E * capacity tokens of a sequence with the highest probability for it.

        p = softmax(W_g x) over experts,   G, I = top-S of p along time,
        y_t = sum_{e, i: I_ei = t} G_ei E_e(x_t)
        Zhou et al. 2022, arXiv:2202.09368, eq. 1-3

    Balanced by construction, so without an auxiliary loss; `dropped` is the share of tokens that none took.
    It looks at the whole sequence: for encoders only. Deviates: chooses in each sequence, not in a batch.
    Raises ValueError for capacity <= 0.
    """

    sees = "both sides"  # the experts of a token depend on later tokens
    splits = ("tensor", "pipeline", "expert")
    roles = {"weight": "router"}

    def __init__(self, width: PositiveInt, experts: PositiveInt, capacity: PositiveFloat) -> None:
        super().__init__()
        self.experts = experts
        self.capacity = self.top_k = capacity  # the experts of a token, on average
        self.weight = nn.Parameter(torch.empty(experts, width))

    def expert_rows(self, tokens_R: Tensor) -> Tensor:
        """How many rows all experts together take of sequences of these lengths."""
        return self.experts * capacity(self.capacity, tokens_R, self.experts).minimum(tokens_R)

    def forward(
        self, x_BTD: Tensor, tokens_BT: Tensor | None = None, real_BT: Tensor | None = None
    ) -> tuple[ExpertsChoose, Callable[[], Routing]]:
        probability_BTE = logits(x_BTD, self.weight).softmax(-1)
        batch, time, experts = probability_BTE.shape
        each = min(time, capacity(self.capacity, time, experts))
        if real_BT is None:
            real_BT = torch.ones_like(probability_BTE[..., 0], dtype=torch.bool)
        weight_BES, token_BES = probability_BTE.where(real_BT[..., None], -1.0).mT.topk(each, dim=-1)
        length_B1 = real_BT.sum(1, keepdim=True)
        room_B1 = capacity(self.capacity, length_B1, experts).minimum(length_B1)
        kept_BES = torch.arange(each, device=x_BTD.device) < room_B1[..., None]
        kept_BES = kept_BES.expand_as(token_BES).to(weight_BES.dtype)

        def make_routing() -> Routing:
            nobody_BT = weight_BES.new_zeros(batch, time)
            takers_BT = nobody_BT.scatter_add_(1, token_BES.flatten(1), kept_BES.flatten(1))
            return Routing(
                weight_BES.new_zeros(batch),
                kept_BES.sum(-1),
                entropy(probability_BTE, real_BT),
                mean((takers_BT == 0).to(weight_BES.dtype), real_BT),
            )

        return ExpertsChoose(token_BES, weight_BES * kept_BES), make_routing
