"""Two experts for each token, with room for so many. Shapes: B batch, T time, D width, E experts."""

import torch
from torch import Tensor, nn

from triad.layers.routing import Routing, TokensChoose, capacity, entropy, load, logits, mean, real, within


class GShard(nn.Module):
    """Each token goes to its two most probable experts, unless these are full.

        g = softmax(W_g x),   w_1 = g_1 / (g_1 + g_2),  w_2 = g_2 / (g_1 + g_2)
        room of an expert = 2 T / E * capacity
        auxiliary = balance E sum_e (c_e / T) m_e      Lepikhin et al. 2020, arXiv:2006.16668, algorithm 1

    A sequence is a group; c_e counts first choices and m_e is the group's mean gate. The paper's auxiliary
    loss is a mean over experts where ours is E times the sum: balance x 1 when uniform, as everywhere here.
    Deviates: both choices of a token queue before those of the next, where the paper lets all first choices
    pass, so that what is dropped does not tell a token of later ones; room is limited in training only; T
    counts no padding; the second expert is always asked, where the paper asks with probability 2 g_2: a layer
    knows neither seed nor step nor row, and what is drawn without them differs between layouts. Raises
    ValueError for capacity <= 0 and for fewer than 2 experts.
    """

    top_k = 2

    def __init__(self, width: int, experts: int, capacity: float, balance: float) -> None:
        super().__init__()
        if experts < 2:
            raise ValueError(f"experts={experts}: GShard sends each token to two; use 2 or more")
        self.capacity, self.balance = capacity, balance
        self.weight = nn.Parameter(torch.empty(experts, width))

    def forward(self, x_BTD: Tensor, tokens_BT: Tensor | None = None) -> tuple[TokensChoose, Routing]:
        probability_BTE = logits(x_BTD, self.weight).softmax(-1)
        real_BT, experts = real(x_BTD, tokens_BT), probability_BTE.shape[-1]
        time_B = real_BT.sum(1)
        weight_BT2, expert_BT2 = probability_BTE.topk(2, dim=-1)
        weight_BT2 = weight_BT2 / weight_BT2.sum(-1, keepdim=True)
        first_BE = load(expert_BT2[..., :1], probability_BTE, real_BT) / time_B.clamp_min(1)[:, None]
        balance_B = (first_BE * mean(probability_BTE, real_BT)).sum(-1) * experts
        kept_BT2 = torch.ones_like(expert_BT2, dtype=torch.bool)
        if self.training:
            most_B = capacity(self.capacity, 2 * time_B, experts)
            kept_BT2 = within(expert_BT2, experts, most_B, real_BT[..., None].expand_as(expert_BT2))
        dropped_B = mean((~kept_BT2).to(weight_BT2.dtype), real_BT).mean(-1)
        load_BE = load(expert_BT2, probability_BTE, real_BT)
        routing = Routing(self.balance * balance_B, load_BE, entropy(probability_BTE, real_BT), dropped_B)
        return TokensChoose(expert_BT2, weight_BT2 * kept_BT2, experts), routing
