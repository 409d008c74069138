"""One expert for each token, with room for so many. Shapes: B batch, T time, D width, E experts."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from triad.layers.ranges import NonNegativeFloat, PositiveFloat, PositiveInt
from triad.layers.routing import (
    Routing,
    TokensChoose,
    capacity,
    entropy,
    keep_within_capacity,
    length,
    load,
    logits,
    mean,
)


class Switch(nn.Module):
    """Each token goes to its most probable expert, unless that is full: then the layer gives it nothing.

        p = softmax(W_r x),   y = p_i E_i(x),  i = argmax p      Fedus et al. 2021, arXiv:2101.03961, eq. 1-2
        room of an expert = T / E * capacity                     eq. 3
        auxiliary = balance E sum_e f_e P_e                      eq. 4-6

    f_e is the share of a sequence's tokens that ask for expert e, dropped ones included, and P_e its mean
    probability; padding is not counted and uses no capacity; losses of layers are added up. Deviates:
    capacity is per sequence, not per batch, and is given in order of time, so that a token's output depends
    neither on other sequences nor on later tokens; it is limited in training only, so that in generation it
    does not depend on the length; no noise. Raises ValueError for capacity <= 0.
    """

    sees = "past"  # earlier tokens take the room of an expert
    splits = ("tensor", "pipeline", "expert")
    roles = {"weight": "router"}
    top_k = 1

    def __init__(
        self, width: PositiveInt, experts: PositiveInt, capacity: PositiveFloat, balance: NonNegativeFloat
    ) -> None:
        super().__init__()
        self.capacity, self.balance = capacity, balance
        self.weight = nn.Parameter(torch.empty(experts, width))

    def forward(
        self, x_BTD: Tensor, tokens_BT: Tensor | None = None, real_BT: Tensor | None = None
    ) -> tuple[TokensChoose, Callable[[], Routing]]:
        probability_BTE = logits(x_BTD, self.weight).softmax(-1)
        time, experts = length(probability_BTE, real_BT), probability_BTE.shape[-1]
        weight_BT1, expert_BT1 = probability_BTE.max(-1, keepdim=True)
        kept_BT1 = torch.ones_like(expert_BT1, dtype=torch.bool)
        if self.training:
            room, asks_BT1 = (
                capacity(self.capacity, time, experts),
                None if real_BT is None else real_BT[..., None],
            )
            kept_BT1 = keep_within_capacity(expert_BT1, experts, room, asks_BT1)

        def make_routing() -> Routing:
            load_BE = load(expert_BT1, probability_BTE, real_BT)
            balance_B = (load_BE / time.clamp_min(1) * mean(probability_BTE, real_BT)).sum(-1) * experts
            dropped_B = mean((~kept_BT1[..., 0]).to(weight_BT1.dtype), real_BT)
            return Routing(self.balance * balance_B, load_BE, entropy(probability_BTE, real_BT), dropped_B)

        return TokensChoose(expert_BT1, weight_BT1 * kept_BT1, experts), make_routing
