"""A model that sees both sides of a token, and has another name than any of Triad's."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from triad.layers.readout import Readout


class TwoWay(nn.Module):
    """Tell each token from the mean of all real ones: tokens_BT -> (logits_BTV, ())."""

    sees = "both sides"
    roles = {"head.weight": "head"}

    def __init__(self, vocab_size: int, width: int, depth: int, initial: Callable) -> None:
        super().__init__()
        self.depth, self.initial = depth, initial
        self.embedding = nn.Embedding(vocab_size, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.head = nn.Linear(width, vocab_size, bias=False)
        self.readout = Readout()

    def forward(self, tokens_BT: Tensor, loss: Callable | None = None) -> tuple[Any, tuple]:
        real_BT1 = (tokens_BT >= 0)[..., None]
        x_BTD = self.embedding(tokens_BT.clamp_min(0))
        for block in self.blocks:
            mean_B1D = (x_BTD * real_BT1).sum(1, keepdim=True) / real_BT1.sum(1, keepdim=True)
            x_BTD = x_BTD + block(mean_B1D).tanh()
        return self.readout(x_BTD, self.head.weight, loss), ()
