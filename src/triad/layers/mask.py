"""Which keys a query sees, and how they are weighed by distance, where that is more than causality.

A mask is called as mask(q_BNTH, keys), the last of so many keys being those of the T queries, and gives what
is added to their products: shape (T, S) or (N, T, S), -inf for what is not seen; or None where that is
causality and no more. Attention hands its `mask` to the kernels, so that it holds behind a cache too.

Shapes: B batch, N heads, T queries, S keys, H head size.
"""

import torch
from torch import Tensor, nn


class Window(nn.Module):
    """Each token sees itself and the `size` - 1 before it.

        visible iff 0 <= i - j < size      Beltagy et al. 2020, arXiv:2004.05150, section 3.1; Jiang et al.
                                           2023 (Mistral), arXiv:2310.06825, section 2

    q_BNTH and the number of keys -> mask_TS, or None while all keys fit. Deviates: a cache keeps the keys
    behind the window. Raises ValueError for a window without room for the token itself.
    """

    splits = ("tensor", "context", "pipeline", "expert")

    def __init__(self, size: int):
        super().__init__()
        if size < 1:
            raise ValueError(f"window size={size}: a token sees at least itself, so 1 or more")
        self.size = size

    def forward(self, q_BNTH: Tensor, keys: int) -> Tensor | None:
        if keys <= self.size:
            return None  # and the kernel may take its causal way, which is faster
        distance_TS = _distance(q_BNTH, keys)
        hidden_TS = (distance_TS < 0) | (distance_TS >= self.size)
        return q_BNTH.new_zeros(distance_TS.shape).masked_fill_(hidden_TS, float("-inf"))


class ALiBi(nn.Module):
    """Instead of positions, a penalty that grows with distance, by a slope of each head's own.

        softmax(q_i k_j^T / sqrt(H) - m_n (i - j)),   m_n = 2^(-8 n / N), n = 1 ... N
        Press et al. 2021, arXiv:2108.12409, section 3

    q_BNTH and the number of keys -> mask_NTS. Where N is no power of two: the slopes of the next lower one
    and then every other slope of the next higher one, as in their code and in BLOOM.
    """

    splits = ("tensor", "context", "pipeline", "expert")

    def __init__(self, heads: int):
        super().__init__()
        self.heads = heads
        self.first = 0  # of the heads that live here

    def slice_heads(self, rank: int, ranks: int) -> None:
        """From now on only a slice of the heads lives here."""
        self.first = rank * self.heads // ranks

    def forward(self, q_BNTH: Tensor, keys: int) -> Tensor:
        exact = torch.promote_types(q_BNTH.dtype, torch.float32)
        distance_TS = _distance(q_BNTH, keys)
        here = slice(self.first, self.first + q_BNTH.shape[1])
        slope_N = slopes(self.heads, q_BNTH.device)[here].to(exact)
        mask_NTS = -slope_N[:, None, None] * distance_TS
        return mask_NTS.masked_fill_(distance_TS < 0, float("-inf")).to(q_BNTH.dtype)


def slopes(heads: int, device: torch.device | None = None) -> Tensor:
    """m_n of every head."""
    lower = 1 << (heads.bit_length() - 1)
    own = torch.arange(1, lower + 1, device=device) * (-8 / lower)
    between = (2 * torch.arange(heads - lower, device=device) + 1) * (-4 / lower)
    return torch.cat((own, between)).exp2()


def _distance(q_BNTH: Tensor, keys: int) -> Tensor:
    """i - j of query i and key j."""
    new = q_BNTH.shape[2]
    index_S = torch.arange(keys, device=q_BNTH.device)
    return index_S[keys - new :, None] - index_S
