"""Two experts for each token, with room for so many. Shapes: B batch, T time, D width, E experts."""

import torch
from torch import Tensor, nn

from triad.layers.routing import Routing, TokensChoose, capacity, entropy, length, load, logits, mean, within


class GShard(nn.Module):
    """Each token goes to its two most probable experts, unless these are full.

        g = softmax(W_g x),   w_1 = g_1 / (g_1 + g_2),  w_2 = g_2 / (g_1 + g_2)
        room of an expert = 2 T / E * capacity
        auxiliary = balance E sum_e (c_e / T) m_e      Lepikhin et al. 2020, arXiv:2006.16668, algorithm 1

    A sequence is a group; c_e counts first choices and m_e is the group's mean gate. The paper's auxiliary
    loss is a mean over experts where ours is E times the sum: balance x 1 when uniform, as everywhere here.
    Deviates: both choices of a token queue before those of the next, where the paper lets all first choices
    pass, so that what is dropped does not tell a token of later ones; room is limited in training only; the
    second expert is always asked, where the paper asks with probability 2 g_2. Raises ValueError for
    capacity <= 0 and for fewer than 2 experts.
    """

    top_k = 2

    def __init__(self, width: int, experts: int, capacity: float, balance: float) -> None:
        super().__init__()
        if experts < 2:
            raise ValueError(f"experts={experts}: GShard sends each token to two; use 2 or more")
        self.capacity, self.balance = capacity, balance
        self.weight = nn.Parameter(torch.empty(experts, width))

    def forward(
        self, x_BTD: Tensor, tokens_BT: Tensor | None = None, real_BT: Tensor | None = None
    ) -> tuple[TokensChoose, Routing]:
        probability_BTE = logits(x_BTD, self.weight).softmax(-1)
        time, experts = length(probability_BTE, real_BT), probability_BTE.shape[-1]
        weight_BT2, expert_BT2 = probability_BTE.topk(2, dim=-1)
        weight_BT2 = weight_BT2 / weight_BT2.sum(-1, keepdim=True)
        first_BE = load(expert_BT2[..., :1], probability_BTE, real_BT)
        balance_B = (first_BE / time * mean(probability_BTE, real_BT)).sum(-1) * experts
        kept_BT2 = torch.ones_like(expert_BT2, dtype=torch.bool)
        if self.training:
            asks_BT1 = None if real_BT is None else real_BT[..., None]
            kept_BT2 = within(expert_BT2, experts, capacity(self.capacity, 2 * time, experts), asks_BT1)
        dropped_B = mean((~kept_BT2).to(weight_BT2.dtype).mean(-1), real_BT)
        load_BE = load(expert_BT2, probability_BTE, real_BT)
        routing = Routing(self.balance * balance_B, load_BE, entropy(probability_BTE, real_BT), dropped_B)
        return TokensChoose(expert_BT2, weight_BT2 * kept_BT2, experts), routing
