"""Attention with an explicit mask, within one sequence or to another one.

Shapes: B batch, T queries, S keys, D width, N heads, H head size, U value size.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triad.layers.attention import KeyValueCache
from triad.layers.autocast import to_autocast_dtype
from triad.layers.ranges import PositiveFloat, PositiveInt, UnitInterval

PADDING = -1  # any token below 0 is padding after the end of a row


class FullAttention(nn.Module):
    """Let each token look at all tokens of a memory, its own sequence or another, that its mask shows.

        softmax(q k^T / sqrt(H) + mask) v, in N heads      Vaswani et al. 2017, arXiv:1706.03762, eq. 1

    x_BTD, memory_BSD, mask (true where visible, or a number to add; broadcast to BNTS) -> y_BTD. As `cache`
    a SelfAttentionCache appends the keys and values of the memory to those it has, a CrossAttentionCache
    computes them once. `scale` null: 1 / sqrt(H). `dropout` falls on the weights and on the output.
    `head_size` and `value_size` are the paper's d_k and d_v. Raises ValueError if heads do not divide the
    width and no head size is given.
    """

    splits = ("expert", "documents")
    starts = {"q.weight": "query", "out.weight": "residual"}

    def __init__(
        self,
        width: PositiveInt,
        heads: PositiveInt,
        bias: bool,
        dropout: UnitInterval,
        scale: PositiveFloat | None,
        head_size: PositiveInt | None = None,
        value_size: PositiveInt | None = None,
    ):
        super().__init__()
        if head_size is None and width % heads:
            raise ValueError(f"heads={heads} does not divide width={width}: change one of them")
        self.heads, self.scale = heads, scale
        size = head_size or width // heads
        self.q = nn.Linear(width, heads * size, bias)
        self.k = nn.Linear(width, heads * size, bias)
        self.v = nn.Linear(width, heads * (value_size or size), bias)
        self.out = nn.Linear(heads * (value_size or size), width, bias)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x_BTD: Tensor,
        memory_BSD: Tensor,
        mask: Tensor | None,
        cache: "SelfAttentionCache | CrossAttentionCache | None" = None,
    ) -> Tensor:
        x_BTD = to_autocast_dtype(x_BTD)
        q_BNTH = self._heads(self.q(x_BTD))
        k_BNSH, v_BNSU = cache.read(self, memory_BSD) if cache is not None else self.keys_values(memory_BSD)
        if mask is not None and mask.is_floating_point():
            mask = mask.to(q_BNTH.dtype)
        dropout = self.dropout.p if self.training else 0.0
        y_BNTU = F.scaled_dot_product_attention(q_BNTH, k_BNSH, v_BNSU, mask, dropout, scale=self.scale)
        return self.dropout(self.out(y_BNTU.transpose(1, 2).flatten(-2)))

    def keys_values(self, memory_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the memory's tokens: k_BNSH and v_BNSU."""
        memory_BSD = to_autocast_dtype(memory_BSD)
        return self._heads(self.k(memory_BSD)), self._heads(self.v(memory_BSD))

    def find_queries(self) -> tuple[str, int]:
        """The submodule in which attention scores are linear, and the size of a head."""
        return "q", self.q.out_features // self.heads

    def flops_per_pair(self) -> int:
        """FLOPs of the products of a query with a key and of its weight with a value, both ways."""
        return 6 * (self.q.out_features + self.v.out_features)

    def _heads(self, x_BTD: Tensor) -> Tensor:
        return x_BTD.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class SelfAttentionCache(KeyValueCache):
    """Keys and values of all tokens so far, for attention of a target to itself."""

    def read(self, layer: FullAttention, memory_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """Append the memory's keys and values; return all."""
        return self.extend(*layer.keys_values(memory_BSD))


class CrossAttentionCache:
    """Keys and values of a memory that does not change, computed by the first `read`."""

    def __init__(self) -> None:
        self.keys_and_values: tuple[Tensor, Tensor] | None = None

    def select(self, rows_R: Tensor) -> None:
        """Keep some rows, in a given order, each as often as it is named."""
        if self.keys_and_values is not None:
            k_BNSH, v_BNSU = self.keys_and_values
            self.keys_and_values = k_BNSH.index_select(0, rows_R), v_BNSU.index_select(0, rows_R)

    def read(self, layer: FullAttention, memory_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """The memory's keys and values."""
        if self.keys_and_values is None:
            self.keys_and_values = layer.keys_values(memory_BSD)
        return self.keys_and_values


def visible_mask(tokens_BS: Tensor, starts_BS: Tensor | None = None) -> Tensor:
    """A mask_B11S that hides padding, or a mask_B1SS that hides other documents, too.

    All true where no key is left: a softmax over no key would be NaN, also in the gradients of other rows.
    """
    visible = (tokens_BS >= 0)[:, None, None]
    if starts_BS is not None:
        visible = visible & (starts_BS[:, None, :, None] == starts_BS[:, None, None])
    return visible | ~visible.any(-1, keepdim=True)


def causal_mask(new: int, past: int, device: torch.device) -> Tensor:
    """A mask_TS: each of `new` tokens, which follow `past` others, sees itself and those before it."""
    return torch.ones(new, past + new, dtype=torch.bool, device=device).tril(past)


def mask_bias(bias_NTS: Tensor | None, mask: Tensor) -> Tensor:
    """The bias where the mask is true, else minus infinity; without a bias the mask itself."""
    return mask if bias_NTS is None else bias_NTS.where(mask, float("-inf"))
