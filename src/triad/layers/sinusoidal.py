"""Positions without parameters. Shapes: B batch, T time, D width."""

import torch
from torch import Tensor, nn

from triad.layers.documents import Offset, make_positions
from triad.layers.ranges import PositiveInt


class Sinusoidal(nn.Module):
    """Add sines and cosines of the position to each token's vector.

        p_{t,2i} = sin(t / 10000^(2i/D)),   p_{t,2i+1} = cos(t / 10000^(2i/D))
        Vaswani et al. 2017, arXiv:1706.03762, section 3.5

    x_BTD and the position of its first token -> x_BTD + p_TD, computed each time in fp32: no buffer.
    `context` is not used. Raises ValueError for an odd width.
    """

    takes_offset = True
    splits = ("tensor", "context", "pipeline", "expert", "documents")

    def __init__(self, context: PositiveInt, width: PositiveInt):
        super().__init__()
        if width % 2:
            raise ValueError(f"sinusoidal positions come in pairs: width={width} must be even")
        self.width = width

    def forward(self, x_BTD: Tensor, offset: Offset = 0) -> Tensor:
        exact = torch.promote_types(x_BTD.dtype, torch.float32)
        time_T = make_positions(x_BTD.shape[1], offset, x_BTD.device, exact)
        pair_D = torch.arange(0, self.width, 2, device=x_BTD.device, dtype=exact)
        angle_TD = time_T[..., None] * 10000.0 ** (-pair_D / self.width)
        return x_BTD + torch.stack((angle_TD.sin(), angle_TD.cos()), -1).flatten(-2).to(x_BTD.dtype)
