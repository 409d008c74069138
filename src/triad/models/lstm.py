"""Recurrent language models. Shapes: B batch, T time, D width, L layers, V vocabulary."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from triad.layers.documents import run_within_documents
from triad.layers.flops import Rows
from triad.layers.padding import LeftPadding
from triad.layers.ranges import PositiveInt, UnitInterval
from triad.layers.readout import Readout
from triad.layers.recurrent import first_state_flops


class LSTM(nn.Module):
    """Predict the next token from a state that is carried along.

        i, f, o = sigmoid(W x_t + U h_{t-1} + b),   c_t = f c_{t-1} + i tanh(W_c x_t + U_c h_{t-1} + b_c)
        h_t = o tanh(c_t)      Hochreiter and Schmidhuber 1997; stacked: Zaremba et al. 2014, arXiv:1409.2329

    tokens_BT -> (logits_BTV, ()), or loss(hidden_BTD, weight_VD, vocabulary=) in the first place. Tokens
    below 0 are padding, at the end of a row. With `cache` the tokens follow those already seen; with
    starts_BT the state is zero at the start of each document of a row. `tied`: the embedding is the head
    (Press and Wolf 2017, arXiv:1608.05859).
    """

    sees = "past"
    splits = ("documents",)
    roles = {"head.weight": "head"}

    def __init__(
        self,
        vocab_size: PositiveInt,
        width: PositiveInt,
        depth: PositiveInt,
        dropout: UnitInterval,
        tied: bool,
        initial: Callable,
    ):
        super().__init__()
        self.vocab_size, self.width, self.depth = vocab_size, width, depth
        self.initial = initial
        self.embedding = nn.Embedding(vocab_size, width)
        self.dropout = nn.Dropout(dropout)
        # torch warns of dropout between the layers when there is only one
        self.recurrent = nn.LSTM(width, width, depth, batch_first=True, dropout=dropout if depth > 1 else 0.0)
        self.head = None if tied else nn.Linear(width, vocab_size, bias=False)
        self.readout = Readout()

    def forward(
        self,
        tokens_BT: Tensor,
        starts_BT: Tensor | None = None,
        loss: Callable | None = None,
        cache: "State | None" = None,
    ) -> tuple[Any, tuple]:
        x_BTD = self.dropout(self.embedding(tokens_BT.clamp_min(0)))
        if starts_BT is not None:
            hidden_BTD = run_within_documents(self.recurrent, x_BTD, starts_BT)
        elif cache is None:
            hidden_BTD, _ = self.recurrent(x_BTD)
        else:
            hidden_BTD = cache.advance(self.recurrent, x_BTD)
        weight_VD = self.embedding.weight if self.head is None else self.head.weight
        return self.readout(self.dropout(hidden_BTD), weight_VD, loss), ()

    def weight_flops(self, rows: Rows) -> Tensor:
        """No gradient is computed for the state before the first token."""
        return first_state_flops(self.recurrent, rows)

    def empty_cache(self, batch: int, padding_B: Tensor | None = None) -> "State":
        """The state before the first token; forward replaces its content.

        `padding_B` tokens of padding stand before the first of each row, in the first call.
        """
        zero_LBD = self.embedding.weight.new_zeros(self.depth, batch, self.width)
        return State((zero_LBD, zero_LBD), None if padding_B is None else LeftPadding(padding_B))


class State:
    """The state of a recurrent model after `length` tokens: h_LBD and c_LBD."""

    def __init__(self, hc: tuple[Tensor, Tensor], padding: LeftPadding | None = None):
        self.hc, self.padding = hc, padding
        self.length = 0

    def advance(self, recurrent: nn.LSTM, x_BTD: Tensor) -> Tensor:
        """The output for further tokens, which change the state."""
        if self.padding is not None and not self.length:
            hidden_BTD, self.hc = self.padding.run(recurrent, x_BTD)
        else:
            hidden_BTD, self.hc = recurrent(x_BTD, self.hc)
        self.length += x_BTD.shape[1]
        return hidden_BTD

    def select(self, rows_R: Tensor) -> None:
        """Keep some rows, in a given order, each as often as it is named."""
        h_LBD, c_LBD = self.hc
        self.hc = h_LBD.index_select(1, rows_R), c_LBD.index_select(1, rows_R)

    def overwrite(self, rows_M: Tensor, others_M: Tensor, since: int) -> None:
        """Put others in the place of some rows."""
        self.hc = tuple(x_LBD.index_copy(1, rows_M, x_LBD[:, others_M]) for x_LBD in self.hc)
