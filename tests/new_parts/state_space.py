"""A causal mixer that is no attention: a convolution and a state. B batch, T time, D width, S state."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triad.layers.attention import KeyValueCache
from triad.layers.flops import Rows

KERNEL = 4


def logarithms(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """ln 1, ln 2, ... along the state      Gu and Dao 2023 (Mamba), arXiv:2312.00752, appendix E"""
    return torch.arange(1.0, shape[1] + 1).log().expand(shape)


class StateSpace(nn.Module):
    """h_t = exp(-exp(A)) h_{t-1} + c_t,   y_t = W_o sum_s h_ts, c being a causal convolution of W_i x.

    x_BTD (and the cache, which holds the last inputs of the convolution and the state as k and v) -> y_BTD.
    """

    splits = ("pipeline", "expert")
    roles = {"A_log": "state"}
    starts = {"A_log": logarithms, "gain": 1e-4, "out.weight": "residual"}

    def __init__(self, width: int, state: int) -> None:
        super().__init__()
        self.numbers = width * state
        self.enter = nn.Linear(width, width, bias=False)
        self.convolution = nn.Conv1d(width, width, KERNEL, groups=width)
        self.A_log = nn.Parameter(torch.empty(width, state))
        self.gain = nn.Parameter(torch.empty(width))
        self.out = nn.Linear(width, width, bias=False)

    def mixing_flops(self, rows: Rows) -> Tensor:
        """A multiplication and an addition for each number of the state, forward and twice backward."""
        return 6 * self.numbers * rows.tokens_R

    def forward(self, x_BTD: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        x_BDT = self.enter(x_BTD).transpose(1, 2)
        fresh = cache is None or cache.k is None or cache.v is None
        before_BDK = x_BDT.new_zeros(*x_BDT.shape[:2], KERNEL - 1) if fresh else cache.k
        padding = cache.padding if cache is not None and fresh else None
        real_B1T = None if padding is None else padding.real(x_BTD.shape[1])[:, None]
        if real_B1T is not None:
            x_BDT = x_BDT.where(real_B1T, 0.0)
        x_BDT = torch.cat((before_BDK, x_BDT), -1)
        c_BDT = F.silu(self.convolution(x_BDT))
        if real_B1T is not None:
            c_BDT = c_BDT.where(real_B1T, 0.0)
        decay_DS = (-self.A_log.exp()).exp()
        h_BDS = c_BDT.new_zeros(len(c_BDT), *decay_DS.shape) if fresh else cache.v
        states = []
        for c_BD in c_BDT.unbind(-1):
            h_BDS = h_BDS * decay_DS + c_BD[..., None]
            states.append(h_BDS.sum(-1))
        if cache is not None:
            cache.k, cache.v, cache.length = x_BDT[..., 1 - KERNEL :], h_BDS, cache.length + x_BTD.shape[1]
        return self.out(torch.stack(states, 1) * (1 + self.gain))
