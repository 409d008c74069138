"""The feed-forward part of a block. Shapes: B batch, T time, D width, F hidden."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from triad.layers.autocast import to_autocast_dtype
from triad.layers.ranges import PositiveInt, UnitInterval


class GELU(nn.Module):
    """Two layers with a Gaussian error linear unit between.

        y = W_2 gelu(W_1 x)      Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2

    x_BTD -> y_BTD. `hidden` null: 4 times the width. GPT-2 takes `approximate: tanh`.
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")
    starts = {"down.weight": "residual"}
    cuts = {"up": "outputs", "down": "inputs"}

    def __init__(
        self,
        width: PositiveInt,
        hidden: PositiveInt | None,
        bias: bool,
        dropout: UnitInterval,
        approximate: Literal["none", "tanh"],
    ):
        super().__init__()
        hidden = hidden or 4 * width
        self.up = nn.Linear(width, hidden, bias)
        self.down = nn.Linear(hidden, width, bias)
        self.dropout = nn.Dropout(dropout)
        self.approximate = approximate

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.dropout(self.down(F.gelu(self.up(x_BTD), approximate=self.approximate)))


class ReLU(nn.Module):
    """Two layers with a rectifier between.

        y = W_2 max(W_1 x + b_1, 0) + b_2      Vaswani et al. 2017, arXiv:1706.03762, eq. 2

    x_BTD -> y_BTD. `hidden` null: 4 times the width.
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")
    starts = {"down.weight": "residual"}
    cuts = {"up": "outputs", "down": "inputs"}

    def __init__(self, width: PositiveInt, hidden: PositiveInt | None, bias: bool, dropout: UnitInterval):
        super().__init__()
        hidden = hidden or 4 * width
        self.up = nn.Linear(width, hidden, bias)
        self.down = nn.Linear(hidden, width, bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.dropout(self.down(F.relu(self.up(x_BTD))))


def gated_hidden(width: int) -> int:
    """8/3 of the width, rounded up to 64: as many parameters as 4 times without a gate."""
    return -(-8 * width // (3 * 64)) * 64


class SwiGLU(nn.Module):
    """A hidden layer multiplied by its own gate.

        y = W_2 (silu(W x) * V x)      Shazeer 2020, arXiv:2002.05202, eq. 6

    x_BTD -> y_BTD. `hidden` null: 8/3 of the width, rounded up to 64.
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")
    starts = {"down.weight": "residual"}
    cuts = {"gate": "outputs", "up": "outputs", "down": "inputs"}

    def __init__(self, width: PositiveInt, hidden: PositiveInt | None, bias: bool, dropout: UnitInterval):
        super().__init__()
        hidden = hidden or gated_hidden(width)
        self.gate = nn.Linear(width, hidden, bias)
        self.up = nn.Linear(width, hidden, bias)
        self.down = nn.Linear(hidden, width, bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD = to_autocast_dtype(x_BTD)
        return self.dropout(self.down(F.silu(self.gate(x_BTD)) * self.up(x_BTD)))


class ReLUSquared(nn.Module):
    """Two layers with a squared rectifier between: cheap, and sparse.

        y = W_2 max(W_1 x, 0)^2      So et al. 2021 (Primer), arXiv:2109.08668, section 4.2

    x_BTD -> y_BTD. `hidden` null: 4 times the width.
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")
    starts = {"down.weight": "residual"}
    cuts = {"up": "outputs", "down": "inputs"}

    def __init__(self, width: PositiveInt, hidden: PositiveInt | None, bias: bool, dropout: UnitInterval):
        super().__init__()
        hidden = hidden or 4 * width
        self.up = nn.Linear(width, hidden, bias)
        self.down = nn.Linear(hidden, width, bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.dropout(self.down(F.relu(self.up(x_BTD)).square()))
