"""Experts without gates. Shapes: R rows of tokens sorted by expert, D width, F hidden, E experts."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triad.layers import moe
from triad.layers.autocast import to_autocast_dtype
from triad.layers.ranges import PositiveInt


class ReLUExperts(nn.Module):
    """E layers with a rectifier between two products, their weights stacked: Switch Transformer's experts.

        E_e(x) = W_e,2 max(W_e,1 x, 0)      Fedus et al. 2021, arXiv:2101.03961, section 2, after T5's layer

    x_RD sorted by expert and end_E (the row after each expert's last) -> y_RD, as Experts. Deviates: no
    dropout within an expert.
    """

    splits = ("context", "pipeline", "documents")
    roles = {"up_EDF": "expert", "down_EFD": "expert"}
    starts = {"down_EFD": "residual"}

    def __init__(self, width: PositiveInt, hidden: PositiveInt, experts: PositiveInt):
        super().__init__()
        self.up_EDF = nn.Parameter(torch.empty(experts, width, hidden))
        self.down_EFD = nn.Parameter(torch.empty(experts, hidden, width))

    def forward(self, x_RD: Tensor, end_E: Tensor) -> Tensor:
        up_EDF, down_EFD = to_autocast_dtype(self.up_EDF), to_autocast_dtype(self.down_EFD)
        if moe.runs_on_cpu(x_RD):
            return compute_in_turn(x_RD, end_E, up_EDF, down_EFD)
        return moe.grouped_product(F.relu(moe.grouped_product(x_RD, up_EDF, end_E)), down_EFD, end_E)


@torch.compiler.disable
def compute_in_turn(x_RD: Tensor, end_E: Tensor, up_EDF: Tensor, down_EFD: Tensor) -> Tensor:
    """One expert after another, which is faster on a CPU; see moe.compute_in_turn."""
    rows = moe.iterate_experts(x_RD, end_E, up_EDF, down_EFD)
    return torch.cat([F.relu(x @ up) @ down for x, up, down in rows])
