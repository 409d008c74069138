"""A router that compares all tokens of a sequence. B batch, T time, D width, E experts."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from triad.layers.routing import Routing, TokensChoose, entropy, load, logits, mean


class Loudest(nn.Module):
    """Each token to the expert for which it stands out most among the tokens of its sequence."""

    sees = "both sides"
    splits = ("expert",)
    roles = {"weight": "router"}
    top_k = 1

    def __init__(self, width: int, experts: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, width))

    def forward(
        self, x_BTD: Tensor, tokens_BT: Tensor | None = None, real_BT: Tensor | None = None
    ) -> tuple[TokensChoose, Callable[[], Routing]]:
        logits_BTE = logits(x_BTD, self.weight)
        probability_BTE = (logits_BTE - logits_BTE.mean(1, keepdim=True)).softmax(-1)
        weight_BTk, expert_BTk = probability_BTE.topk(1, dim=-1)

        def routing() -> Routing:
            nothing_B = mean(logits_BTE, real_BT).sum(-1) * 0
            load_BE = load(expert_BTk, probability_BTE, real_BT)
            return Routing(nothing_B, load_BE, entropy(probability_BTE, real_BT), nothing_B.detach())

        return TokensChoose(expert_BTk, weight_BTk, logits_BTE.shape[-1]), routing
