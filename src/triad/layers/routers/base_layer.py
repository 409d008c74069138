"""The best assignment with equal load for all experts. Shapes: B batch, T time, D width, E = F experts."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triad.layers.ranges import PositiveInt
from triad.layers.routing import Routing, TokensChoose, capacity, entropy, load, logits

AROUND = 5  # times that each expert sets its price


class BaseLayer(nn.Module):
    """Each token of a sequence goes to one expert, with equal loads and the largest sum of scores.

        a = argmax_a sum_t w_{a_t} . x_t,   so that each expert has T / E tokens
        y = sigmoid(w_a . x) E_a(x)
        Lewis et al. 2021 (BASE layers), arXiv:2103.16716, eq. 1-3

    Balanced by construction, so without an auxiliary loss. No gradient passes through the assignment. It
    looks at the whole sequence: for encoders only. Outside training the choice is argmax_e w_e . x, as in the
    paper. Deviates: assigns within each sequence, not a shuffled batch, and exactly, where the paper's
    auction comes near; where E does not divide T an expert has at most T / E, rounded up.
    """

    sees = "both sides"  # the expert of a token depends on later tokens
    splits = ("tensor", "pipeline", "expert")
    roles = {"weight": "router"}
    top_k = 1

    def __init__(self, width: PositiveInt, experts: PositiveInt) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, width))

    def forward(
        self, x_BTD: Tensor, tokens_BT: Tensor | None = None, real_BT: Tensor | None = None
    ) -> tuple[TokensChoose, Callable[[], Routing]]:
        logits_BTE = logits(x_BTD, self.weight)
        expert_BT = assign_balanced(logits_BTE, real_BT) if self.training else logits_BTE.argmax(-1)
        expert_BT1, experts = expert_BT[..., None], logits_BTE.shape[-1]
        weight_BT1 = logits_BTE.gather(-1, expert_BT1).sigmoid()

        def make_routing() -> Routing:
            nothing_B = logits_BTE.new_zeros(len(x_BTD))
            load_BE = load(expert_BT1, logits_BTE, real_BT)
            return Routing(nothing_B, load_BE, entropy(logits_BTE.softmax(-1), real_BT), nothing_B)

        return TokensChoose(expert_BT1, weight_BT1, experts), make_routing


@torch.compiler.disable  # the number of iterations depends on the scores
@torch.no_grad()
def assign_balanced(score_BTE: Tensor, real_BT: Tensor | None) -> Tensor:
    """The expert of each token, so that none has more than T / E and the sum of scores is the largest.

    First prices: in turn, for a few rounds, each expert sets the price at which T / E tokens prefer it; then
    every token takes the expert with the best score minus price. Then successive longest paths (Ahuja,
    Magnanti & Orlin 1993, section 9.7): while an expert has too many tokens, the chain of moves with the
    smallest loss that ends at an expert with room is applied. The first assignment is optimal for its loads,
    and each chain keeps that property; hence the last is optimal, whatever the prices. Blank tokens with the
    score 0 for all experts fill the room that is left. Synchronises with the device for every chain.
    """
    time, experts = score_BTE.shape[1:]
    if real_BT is None:
        real_BT = torch.ones_like(score_BTE[..., 0], dtype=torch.bool)
    room_B1 = capacity(1.0, real_BT.sum(1, keepdim=True), experts)
    real_BT = F.pad(real_BT, (0, experts - 1))
    blank_BT = ~real_BT & ((~real_BT).cumsum(1) <= experts * room_B1 - real_BT.sum(1, keepdim=True))
    score_BTE = F.pad(score_BTE.double(), (0, 0, 0, experts - 1)).where(real_BT[..., None], 0.0)
    real_BT = real_BT | blank_BT
    expert_BT = (score_BTE - _find_prices(score_BTE, real_BT, room_B1)).argmax(-1)
    while True:
        held_BTE = F.one_hot(expert_BT, experts).bool() & real_BT[..., None]
        load_BE = held_BTE.sum(1)
        if not (load_BE > room_B1).any():
            return expert_BT[:, :time]
        gain_BTE = score_BTE - score_BTE.gather(-1, expert_BT[..., None])
        best_BEF, token_BEF = _find_moves(gain_BTE, held_BTE)
        expert_BT = _apply_moves(expert_BT, load_BE, room_B1, best_BEF, token_BEF)


def _find_prices(score_BTE: Tensor, real_BT: Tensor, room_B1: Tensor) -> Tensor:
    """Each expert's price: midway between what its T / E-th best token and the next one would pay."""
    price_B1E = torch.zeros_like(score_BTE[:, :1])
    place_B2 = torch.cat((room_B1 - 1, room_B1), 1).clamp(0, score_BTE.shape[1] - 1)
    for _ in range(AROUND):
        for e in range(score_BTE.shape[-1]):
            value_BTE = score_BTE - price_B1E
            value_BTE[..., e] = -torch.inf
            would_BT = (score_BTE[..., e] - value_BTE.amax(-1)).where(real_BT, -1e30)
            price_B1E[:, 0, e] = would_BT.sort(1, descending=True).values.gather(1, place_B2).mean(1)
    return price_B1E


def _find_moves(gain_BTE: Tensor, held_BTE: Tensor) -> tuple[Tensor, Tensor]:
    """The largest gain of moving one token of expert e to f, and that token."""
    experts = gain_BTE.shape[-1]
    each = [gain_BTE.where(held_BTE[..., e, None], -torch.inf).max(1) for e in range(experts)]
    return torch.stack([best for best, _ in each], 1), torch.stack([token for _, token in each], 1)


def _apply_moves(
    expert_BT: Tensor, load_BE: Tensor, room_B1: Tensor, best_BEF: Tensor, token_BEF: Tensor
) -> Tensor:
    """The assignment after the best chain of moves from an overfull expert to one with room."""
    full_BE, rows_B = load_BE > room_B1, torch.arange(len(load_BE), device=load_BE.device)
    gained_BE = torch.zeros_like(best_BEF[:, 0]).masked_fill(~full_BE, -torch.inf)
    before_BE = torch.full_like(load_BE, -1)
    least = 1e-12 * best_BEF[best_BEF.isfinite()].abs().max()  # rounding is no gain
    for _ in range(load_BE.shape[1] - 1):
        through_BF, by_BF = (gained_BE[..., None] + best_BEF).max(1)
        better_BF = through_BF > gained_BE + least
        if not better_BF.any():
            break
        gained_BE = through_BF.where(better_BF, gained_BE)
        before_BE = by_BF.where(better_BF, before_BE)
    to_B = gained_BE.masked_fill(load_BE >= room_B1, -torch.inf).argmax(1)
    expert_BT, goes_on_B = expert_BT.clone(), full_BE.any(1)
    for _ in range(load_BE.shape[1] - 1):
        from_B = before_BE[rows_B, to_B]
        goes_on_B = goes_on_B & (from_B >= 0)
        token_B = token_BEF[rows_B, from_B.clamp_min(0), to_B]
        expert_BT[rows_B, token_B] = to_B.where(goes_on_B, expert_BT[rows_B, token_B])
        to_B = from_B.where(goes_on_B, to_B)
    return expert_BT
