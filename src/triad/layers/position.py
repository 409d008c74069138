"""Where a token stands. Shapes: B batch, N heads, T time, H head size, D width."""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Rotary(nn.Module):
    """Rotate pairs of query and key components by an angle that grows with position (Su et al. 2021).

        (x_j, x_{j+H/2}) -> rotation by m theta_j,   theta_j = base^(-2j/H)      arXiv:2104.09864, eq. 15

    q_BNTH, k_BKTH and the position of their first token -> the same shapes, contiguous. Angles are fp32;
    their cosines are rounded to the dtype of x. Deviates: pairs j with j + H/2 as Llama's published weights
    do, not with its neighbour. Raises ValueError for an odd head size.
    """

    def __init__(self, head_size: int, base: float):
        super().__init__()
        if head_size % 2:
            raise ValueError(f"rotary positions turn pairs: head_size={head_size} must be even")
        self.head_size = head_size
        self.base = base

    def forward(self, q_BNTH: Tensor, k_BKTH: Tensor, offset: int = 0) -> tuple[Tensor, Tensor]:
        cos_TH, sin_TH = self.tables(offset, q_BNTH.shape[-2], q_BNTH)
        return _Rotate.apply(q_BNTH, cos_TH, sin_TH), _Rotate.apply(k_BKTH, cos_TH, sin_TH)

    def tables(self, offset: int, length: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin of m theta_j, H wide (both halves alike), made anew: no buffer to shard or fill."""
        exact = torch.promote_types(like.dtype, torch.float32)
        index_H = torch.arange(self.head_size, device=like.device) % (self.head_size // 2)
        theta_H = self.base ** (index_H.to(exact) * (-2 / self.head_size))
        position_T = torch.arange(offset, offset + length, device=like.device, dtype=exact)
        angle_TH = position_T[:, None] * theta_H
        return angle_TH.cos().to(like.dtype), angle_TH.sin().to(like.dtype)


class Learned(nn.Embedding):
    """One learned vector per position, added to the token's: Radford et al. 2019 (GPT-2), after
    arXiv:1705.03122.

    x_BTD and the position of its first token -> x_BTD + p_TD.
    """

    def __init__(self, context: int, width: int):
        super().__init__(context, width)

    def forward(self, x_BTD: Tensor, offset: int = 0) -> Tensor:
        return x_BTD + self.weight[offset : offset + x_BTD.shape[1]]


class _Rotate(torch.autograd.Function):
    """A rotation saves nothing of its input: its gradient is the rotation back."""

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
    y_BNTH[..., :half].addcmul_(x_BNTH[..., half:], sin_TH[:, :half], value=-1)
    y_BNTH[..., half:].addcmul_(x_BNTH[..., :half], sin_TH[:, half:])
    return y_BNTH
