"""Two experts for each token, with room for so many. Shapes: B batch, T time, D width, E experts."""

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
from triad.layers.splitmix64 import GOLDEN, splitmix64, to_fraction


class GShard(nn.Module):
    """Each token goes to its two most probable experts, unless these are full.

        g = softmax(W_g x),   w_1 = g_1 / (g_1 + g_2),  w_2 = g_2 / (g_1 + g_2)
        room of an expert = 2 T / E * capacity
        the second is asked if 2 w_2 > r,   0 <= r < 1 drawn for each token
        auxiliary = balance E sum_e (c_e / T) m_e      Lepikhin et al. 2020, arXiv:2006.16668, algorithm 1

    A sequence is a group; c_e counts first choices and m_e is the group's mean gate; padding is not counted;
    losses of layers are added up.
    The paper's auxiliary loss is a mean over experts, ours is E times the sum: balance x 1 when uniform, as
    for every router here. `dropped` is the share of 2 T rows; rows that do not ask count as not dropped.
    Deviates: r is a hash of the tokens so far and of the two experts, so that it is the same in every layout,
    in recomputation and when a text is repeated; both choices of a token are placed before those of the next
    token, where the paper places all first choices before all second ones, so that what is dropped does not
    depend on later tokens; a second expert that is not asked uses no capacity. This holds in training only:
    outside it the second expert is always asked and nothing is dropped. Raises ValueError for capacity <= 0,
    for fewer than 2 experts and, in training, without tokens_BT.
    """

    sees = "past"  # earlier tokens take the room of an expert
    splits = ("tensor", "pipeline", "expert")
    roles = {"weight": "router"}
    top_k = 2

    def __init__(
        self, width: PositiveInt, experts: PositiveInt, capacity: PositiveFloat, balance: NonNegativeFloat
    ) -> None:
        super().__init__()
        if experts < 2:
            raise ValueError(f"experts={experts}: GShard sends each token to two; use 2 or more")
        self.capacity, self.balance = capacity, balance
        self.weight = nn.Parameter(torch.empty(experts, width))

    def forward(
        self, x_BTD: Tensor, tokens_BT: Tensor | None = None, real_BT: Tensor | None = None
    ) -> tuple[TokensChoose, Callable[[], Routing]]:
        probability_BTE = logits(x_BTD, self.weight).softmax(-1)
        time, experts = length(probability_BTE, real_BT), probability_BTE.shape[-1]
        weight_BT2, expert_BT2 = probability_BTE.topk(2, dim=-1)
        weight_BT2 = weight_BT2 / weight_BT2.sum(-1, keepdim=True)
        asks_BT2 = torch.ones_like(expert_BT2, dtype=torch.bool)
        if real_BT is not None:
            asks_BT2 = asks_BT2 & real_BT[..., None]
        kept_BT2 = torch.ones_like(asks_BT2)
        if self.training:
            asks_BT2[..., 1] &= 2 * weight_BT2[..., 1] > hash_fraction(tokens_BT, expert_BT2)
            kept_BT2 = keep_within_capacity(
                expert_BT2, experts, capacity(self.capacity, 2 * time, experts), asks_BT2
            )

        def make_routing() -> Routing:
            first_BE = load(expert_BT2[..., :1], probability_BTE, real_BT)
            balance_B = (first_BE / time.clamp_min(1) * mean(probability_BTE, real_BT)).sum(-1) * experts
            dropped_B = mean((asks_BT2 & ~kept_BT2).to(weight_BT2.dtype).mean(-1), real_BT)
            load_BE = first_BE + load(expert_BT2[..., 1:], probability_BTE, asks_BT2[..., 1])
            return Routing(self.balance * balance_B, load_BE, entropy(probability_BTE, real_BT), dropped_B)

        return TokensChoose(expert_BT2, weight_BT2 * kept_BT2, experts), make_routing


def hash_fraction(tokens_BT: Tensor | None, expert_BT2: Tensor) -> Tensor:
    """A number between 0 and 1 for each token: a hash of the tokens up to it and of its experts.

    The experts are hashed too, so that layers, which have the same tokens, get different numbers.
    """
    if tokens_BT is None:
        raise ValueError(
            "router=gshard needs the tokens, which this layout does not bring: use router=switch"
        )
    place_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
    sofar_BT = splitmix64(splitmix64(tokens_BT) + place_T * GOLDEN).cumsum(1)  # modulo 2^64
    pair_BT = expert_BT2[..., 0] * 2**32 + expert_BT2[..., 1]
    return to_fraction(splitmix64(sofar_BT + splitmix64(pair_BT)))
