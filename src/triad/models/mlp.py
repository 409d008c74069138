"""Neural n-gram language models.

Shapes: B batch, T time, S words kept, D width, F features of the head, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triad.layers.flops import Rows
from triad.layers.ranges import PositiveInt, UnitInterval
from triad.layers.readout import Readout


class MLP(nn.Module):
    """Predict the next token from the vectors of the `order` - 1 tokens before it.

        x = (C(w_{t-1}), ..., C(w_{t-n+1})),   y = b + W x + U tanh(d + H x)
        P(w_t | w_{t-1}, ..., w_{t-n+1}) = softmax(y)      Bengio et al. 2003, JMLR 3:1137-1155, eq. 1

    tokens_BT -> (logits_BTV, ()), or loss(features_BTF, weight_VF, vocabulary=) in the first place: U, W, b
    are columns of one matrix, and b belongs to a feature of ones. Tokens below 0 are padding, at the end of a
    row. With `cache` the tokens follow those already seen; with starts_BT words of other documents count as
    none. `width` is that of C (their m), `hidden` that of H
    (their h), `order` their n; without `direct` there is no W. Vectors of zeros stand for the words before
    the first. Deviates: `depth` hidden layers, theirs has 1. Raises ValueError for an order below 2 or no
    hidden layer.
    """

    sees = "window"
    splits = ("documents",)
    roles = {"head.weight": "head"}

    def __init__(
        self,
        vocab_size: PositiveInt,
        order: PositiveInt,
        width: PositiveInt,
        hidden: PositiveInt,
        depth: PositiveInt,
        direct: bool,
        dropout: UnitInterval,
        initial: Callable,
    ):
        super().__init__()
        if order < 2 or depth < 1:
            raise ValueError(f"order={order} depth={depth}: at least order=2, one word before, and depth=1")
        self.vocab_size, self.order, self.width, self.depth = vocab_size, order, width, depth
        self.direct, self.initial = direct, initial
        window = (order - 1) * width
        self.embedding = nn.Embedding(vocab_size, width)
        self.blocks = nn.ModuleList(
            HiddenLayer(hidden if layer else window, hidden, dropout) for layer in range(depth)
        )
        self.head = nn.Linear(hidden + direct * window, vocab_size)
        self.readout = Readout()

    def forward(
        self,
        tokens_BT: Tensor,
        starts_BT: Tensor | None = None,
        loss: Callable | None = None,
        cache: "NgramWindow | None" = None,
    ) -> tuple[Any, tuple]:
        window = self.empty_cache(len(tokens_BT)) if cache is None else cache
        x_BTD = self.embedding(tokens_BT.clamp_min(0))
        if window.padded:
            x_BTD = x_BTD.where((tokens_BT >= 0)[..., None], 0.0)
        x_BTX = window.extend(x_BTD, starts_BT)
        h_BTF = x_BTX
        for block in self.blocks:
            h_BTF = block(h_BTF)
        features_BTF = torch.cat((h_BTF, x_BTX), -1) if self.direct else h_BTF
        weight_VF = torch.cat((self.head.weight, self.head.bias[:, None]), 1)
        return self.readout(F.pad(features_BTF, (0, 1), value=1.0), weight_VF, loss), ()

    def weight_flops(self, rows: Rows) -> Tensor:
        """The head's bias, a column of its matrix."""
        return 6 * self.vocab_size * rows.tokens_R

    def empty_cache(self, batch: int, padding_B: Tensor | None = None) -> "NgramWindow":
        """The zeros before the first token; forward replaces its content.

        With `padding_B` tokens below 0 may stand before the first of each row, too.
        """
        zero_BSD = self.embedding.weight.new_zeros(batch, self.order - 2, self.width)
        return NgramWindow(zero_BSD, padded=padding_B is not None)


class HiddenLayer(nn.Module):
    """h = tanh(d + H x), and dropout."""

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__()
        self.matrix = nn.Linear(width, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.matrix(x).tanh())


class NgramWindow:
    """The vectors of the last words of a text with `length` words: recent_BSD, newest last."""

    def __init__(self, recent_BSD: Tensor, padded: bool = False):
        self.recent_BSD, self.padded = recent_BSD, padded
        self.length = 0

    def select(self, rows_R: Tensor) -> None:
        """Keep some rows, in a given order, each as often as it is named."""
        self.recent_BSD = self.recent_BSD.index_select(0, rows_R)

    def overwrite(self, rows_M: Tensor, others_M: Tensor, since: int) -> None:
        """Put others in the place of some rows."""
        self.recent_BSD = self.recent_BSD.index_copy(0, rows_M, self.recent_BSD[others_M])

    def extend(self, x_BTD: Tensor, starts_BT: Tensor | None = None) -> Tensor:
        """Append new words; return for each its own vector and those of the S before it, newest first.

        With starts_BT, zeros stand for those before the first of its document.
        """
        (kept, new), recent_BSD = (self.recent_BSD.shape[1], x_BTD.shape[1]), self.recent_BSD
        every_BSD = torch.cat((recent_BSD.to(x_BTD.dtype), x_BTD), 1)
        self.recent_BSD = every_BSD[:, new:]
        self.length += new
        seen = [every_BSD[:, first : first + new] for first in range(kept, -1, -1)]
        if starts_BT is not None:
            age_BT = torch.arange(new, device=starts_BT.device) - starts_BT
            seen = [x.where((age_BT >= back)[..., None], 0.0) for back, x in enumerate(seen)]
        return torch.cat(seen, -1)
