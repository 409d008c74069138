"""Positions of tokens. Shapes: B batch, N heads, T time, H head size, D width."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from triad.layers.documents import Offset, make_positions
from triad.layers.ranges import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, UnitInterval


class Rotary(nn.Module):
    """Rotate pairs of query and key components by an angle that grows with position (Su et al. 2021).

        (x_j, x_{j+H/2}) -> rotation by m theta_j,   theta_j = base^(-2j/H)      arXiv:2104.09864, eq. 15

    q_BNTH, k_BKTH and the position of their first token (or for each token what its position exceeds its
    index by) -> the same shapes, contiguous. Angles are fp32;
    their cosines are rounded to the dtype of x. Deviates: pairs j with j + H/2 as Llama's published weights
    do, not with its neighbour. Raises ValueError for an odd head size.
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")

    def __init__(self, head_size: PositiveInt, base: PositiveFloat):
        super().__init__()
        if head_size % 2:
            raise ValueError(f"rotary positions turn pairs: head_size={head_size} must be even")
        self.head_size = head_size
        self.base = base

    def forward(self, q_BNTH: Tensor, k_BKTH: Tensor, offset: Offset = 0) -> tuple[Tensor, Tensor]:
        cos_TH, sin_TH = self.tables(offset, q_BNTH.shape[-2], q_BNTH)
        return _Rotate.apply(q_BNTH, cos_TH, sin_TH), _Rotate.apply(k_BKTH, cos_TH, sin_TH)

    def tables(self, offset: Offset, length: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin of m theta_j, H wide (both halves equal), computed each time: no buffer to shard.

        Where the offset is one for each token they have the shape (B, 1, T, H).
        """
        exact = torch.promote_types(like.dtype, torch.float32)
        index_H = torch.arange(self.head_size, device=like.device) % (self.head_size // 2)
        theta_H = self.frequencies(index_H.to(exact))
        position = make_positions(length, offset, like.device, exact)
        position_T = position if position.ndim == 1 else position[:, None]  # the same for all heads
        angle_TH = position_T[..., None] * theta_H
        return angle_TH.cos().to(like.dtype), angle_TH.sin().to(like.dtype)

    def frequencies(self, index_H: Tensor) -> Tensor:
        """theta_j of pair j."""
        return self.base ** (index_H * (-2 / self.head_size))


class PartialRotary(nn.Module):
    """Rotate the first `fraction` of each head and leave the rest without position.

        Black et al. 2022 (GPT-NeoX), arXiv:2204.06745, section 2.1, after GPT-J

    As Rotary. Raises ValueError where the fraction of the head is odd.
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")

    def __init__(self, head_size: PositiveInt, base: PositiveFloat, fraction: UnitInterval):
        super().__init__()
        self.size = int(head_size * fraction)
        self.rotary = Rotary(self.size, base)

    def forward(self, q_BNTH: Tensor, k_BKTH: Tensor, offset: Offset = 0) -> tuple[Tensor, Tensor]:
        turned = self.rotary(q_BNTH[..., : self.size], k_BKTH[..., : self.size], offset)
        rest = q_BNTH[..., self.size :], k_BKTH[..., self.size :]
        q_BNTH, k_BKTH = (torch.cat(parts, -1) for parts in zip(turned, rest, strict=True))
        return q_BNTH, k_BKTH


class Llama3Rotary(nn.Module):
    """Rotary positions for a context longer than that of pre-training: low frequencies are divided further.

        theta' = theta / factor   where a turn takes more than context / low tokens,
        theta' = theta            where it takes less than context / high,
        between them s theta + (1 - s) theta / factor,   s = (context / turn - low) / (high - low)
        Llama 3.1 as released, low = 1, high = 4; Grattafiori et al. 2024, arXiv:2407.21783, section 3.4.2

    As Rotary. `original` is the context of pre-training.
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")

    def __init__(
        self,
        head_size: PositiveInt,
        base: PositiveFloat,
        factor: PositiveFloat,
        low: PositiveFloat,
        high: PositiveFloat,
        original: PositiveInt,
    ):
        super().__init__()
        self.factor, self.low, self.high, self.original = factor, low, high, original
        self.rotary = Rotary(head_size, base)
        self.rotary.frequencies = partial(self._slow_down, self.rotary.frequencies)

    def forward(self, q_BNTH: Tensor, k_BKTH: Tensor, offset: Offset = 0) -> tuple[Tensor, Tensor]:
        return self.rotary(q_BNTH, k_BKTH, offset)

    def _slow_down(self, frequencies: Callable, index_H: Tensor) -> Tensor:
        theta_H = frequencies(index_H)
        turns_H = self.original * theta_H / (2 * math.pi)
        kept_H = ((turns_H - self.low) / (self.high - self.low)).clamp(0, 1)
        return theta_H * (kept_H + (1 - kept_H) / self.factor)


class Learned(nn.Embedding):
    """One learned vector per position, added to the token's: Radford et al. 2019 (GPT-2), after
    arXiv:1705.03122.

    x_BTD and the position of its first token -> x_BTD + p_TD.
    """

    takes_offset = True
    splits = ("tensor", "context", "pipeline", "expert", "documents")

    def __init__(self, context: PositiveInt, width: PositiveInt):
        super().__init__(context, width)

    def forward(self, x_BTD: Tensor, offset: Offset = 0) -> Tensor:
        return x_BTD + _look_up(self.weight, offset, x_BTD.shape[1])


class LearnedBehindPadding(nn.Embedding):
    """Learned positions in a table with `reserved` rows before the first, originally meant for padding.

    Liu et al. 2019 (RoBERTa), arXiv:1907.11692, and Zhang et al. 2022 (OPT), arXiv:2205.01068, as released:
    2 rows. x_BTD and the position of its first token -> x_BTD + p_TD.
    """

    takes_offset = True
    splits = ("tensor", "context", "pipeline", "expert", "documents")

    def __init__(self, context: PositiveInt, width: PositiveInt, reserved: NonNegativeInt):
        super().__init__(reserved + context, width)
        self.reserved = reserved

    def forward(self, x_BTD: Tensor, offset: Offset = 0) -> Tensor:
        return x_BTD + _look_up(self.weight, self.reserved + offset, x_BTD.shape[1])


class Normalised(nn.LayerNorm):
    """No position: the embeddings are normalised, which steadies training.

    Le Scao et al. 2022 (BLOOM), arXiv:2211.05100, section 3.2.3. x_BTD -> y_BTD, wherever it stands.
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")

    def __init__(self, context: PositiveInt, width: PositiveInt, eps: NonNegativeFloat):
        super().__init__(width, eps=eps)

    def forward(self, x_BTD: Tensor, offset: Offset = 0) -> Tensor:
        return super().forward(x_BTD)


def _look_up(weight_CD: Tensor, offset: Offset, length: int) -> Tensor:
    if isinstance(offset, Tensor):
        return F.embedding(make_positions(length, offset, offset.device, offset.dtype), weight_CD)
    return weight_CD[offset : offset + length]


class _Rotate(torch.autograd.Function):
    """Rotation without saving its input: the gradient is the inverse rotation."""

    @staticmethod
    def forward(ctx, x, cos, sin):
        ctx.save_for_backward(cos, sin)
        return _rotate(x, cos, sin)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        cos, sin = ctx.saved_tensors
        return _rotate(grad, cos, -sin), None, None


def _rotate(x_BNTH: Tensor, cos_TH: Tensor, sin_TH: Tensor) -> Tensor:
    half = x_BNTH.shape[-1] // 2
    y_BNTH = torch.empty_like(x_BNTH, memory_format=torch.contiguous_format)
    torch.mul(x_BNTH, cos_TH, out=y_BNTH)
    y_BNTH[..., :half].addcmul_(x_BNTH[..., half:], sin_TH[..., :half], value=-1)
    y_BNTH[..., half:].addcmul_(x_BNTH[..., :half], sin_TH[..., half:])
    return y_BNTH
