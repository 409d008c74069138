"""An expert for each word. Shapes: B batch, T time, D width, E experts."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from triad.layers.ranges import PositiveInt
from triad.layers.routing import Routing, TokensChoose, load


class Hash(nn.Module):
    """Each token goes to the expert that a fixed hash of its id names; nothing is learned.

        y_t = E_{hash(token_t)}(x_t)      Roller et al. 2021, arXiv:2106.04426, section 3 (random hash)

    Deviates: no table is drawn; the id is multiplied by 2^32 / golden ratio (Knuth) and the upper half of the
    product names the expert. Needs tokens_BT; raises ValueError without.
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")
    top_k = 1

    def __init__(self, width: PositiveInt, experts: PositiveInt) -> None:
        super().__init__()
        self.experts = experts

    def forward(
        self, x_BTD: Tensor, tokens_BT: Tensor | None = None, real_BT: Tensor | None = None
    ) -> tuple[TokensChoose, Callable[[], Routing]]:
        if tokens_BT is None:
            raise ValueError(
                "router=hash needs the tokens, and this layout does not bring them: use router=switch"
            )
        expert_BT1 = (((tokens_BT + 1) * 2654435769 % 2**32) // 2**16 % self.experts)[..., None]
        exact = torch.promote_types(x_BTD.dtype, torch.float32)
        weight_BT1 = torch.ones_like(expert_BT1, dtype=exact)

        def make_routing() -> Routing:
            load_BE = load(expert_BT1, weight_BT1.expand(*weight_BT1.shape[:2], self.experts), real_BT)
            nothing_B = weight_BT1.new_zeros(len(x_BTD))
            return Routing(nothing_B, load_BE, nothing_B, nothing_B)

        return TokensChoose(expert_BT1, weight_BT1, self.experts), make_routing
