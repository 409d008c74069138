"""Attention masks other than the causal one: which keys a query sees, and a bias by distance.

A mask is called as mask(q_BNTH, keys), where the T queries belong to the last of the keys, and returns what
is added to the scores: shape (T, S) or (1, N, T, S), -inf for hidden keys; or None for a plain causal mask.
Attention passes its `mask` to the kernels, so that it also works with a cache. `reach` is the number of keys
that a query can see, itself included; null: all before it. `is_visible(distance)` has a mask that only hides
keys, by their distance: kernels that skip what is hidden ask it.

Shapes: B batch, N heads, T queries, S keys, H head size.
"""

import torch
from torch import Tensor, nn

from triad.layers.ranges import PositiveInt


class Window(nn.Module):
    """Each token sees itself and the `size` - 1 before it.

        visible iff 0 <= i - j < size      Beltagy et al. 2020, arXiv:2004.05150, section 3.1; Jiang et al.
                                           2023 (Mistral), arXiv:2310.06825, section 2

    q_BNTH and the number of keys -> mask_TS, or None while all keys fit. Raises ValueError for size < 1.
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")

    def __init__(self, size: PositiveInt):
        super().__init__()
        if size < 1:
            raise ValueError(f"window size={size}: a token sees at least itself, so 1 or more")
        self.size = self.reach = size

    def extra_repr(self) -> str:
        return f"size={self.size}"

    def is_visible(self, distance: Tensor) -> Tensor:
        """Whether keys at these distances, 0 or more, are seen."""
        return distance < self.size

    def forward(self, q_BNTH: Tensor, keys: int) -> Tensor | None:
        if keys <= self.size:
            return None  # the kernel's causal path is faster
        distance_TS = _distance(q_BNTH, keys)
        hidden_TS = (distance_TS < 0) | ~self.is_visible(distance_TS)
        return q_BNTH.new_zeros(distance_TS.shape).masked_fill_(hidden_TS, float("-inf"))


class ALiBi(nn.Module):
    """A penalty that grows with distance, by another slope for each head, instead of positions.

        softmax(q_i k_j^T / sqrt(H) - m_n (i - j)),   m_n = 2^(-8 n / N), n = 1 ... N
        Press et al. 2021, arXiv:2108.12409, section 3

    q_BNTH and the number of keys -> mask_1NTS. Where N is no power of two: the slopes of the next lower one
    and then every other slope of the next higher one, as in their code and in BLOOM.
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")
    reach = None

    def __init__(self, heads: PositiveInt):
        super().__init__()
        self.heads = heads
        self.first = 0  # of the heads in this process

    def extra_repr(self) -> str:
        return f"heads={self.heads}"

    def slice_heads(self, rank: int, ranks: int) -> None:
        """Keep the slopes of one slice of the heads."""
        self.first = rank * self.heads // ranks

    def forward(self, q_BNTH: Tensor, keys: int) -> Tensor:
        exact = torch.promote_types(q_BNTH.dtype, torch.float32)
        distance_TS = _distance(q_BNTH, keys)
        here = slice(self.first, self.first + q_BNTH.shape[1])
        slope_N = slopes(self.heads, exact, q_BNTH.device)[here]
        # with 3 dimensions torch stores all scores: 427 ms for 265, T 1,024, EPYC, 2 threads (2026-11-27)
        mask_1NTS = -slope_N[None, :, None, None] * distance_TS
        return mask_1NTS.masked_fill_(distance_TS < 0, float("-inf")).to(q_BNTH.dtype)


def slopes(heads: int, dtype: torch.dtype = torch.float32, device: torch.device | None = None) -> Tensor:
    """m_n of every head."""
    lower = 1 << (heads.bit_length() - 1)
    own = torch.arange(1, lower + 1, device=device, dtype=dtype) * (-8 / lower)
    between = (2 * torch.arange(heads - lower, device=device, dtype=dtype) + 1) * (-4 / lower)
    return torch.cat((own, between)).exp2()


def _distance(q_BNTH: Tensor, keys: int) -> Tensor:
    """i - j of query i and key j."""
    new = q_BNTH.shape[2]
    index_S = torch.arange(keys, device=q_BNTH.device)
    return index_S[keys - new :, None] - index_S
