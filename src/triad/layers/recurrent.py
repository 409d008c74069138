"""A layer with a memory of fixed size. Shapes: B batch, T time, D width."""

from torch import Tensor, nn

from triad.layers.attention import KeyValueCache
from triad.layers.documents import run_within_documents
from triad.layers.flops import Rows
from triad.layers.ranges import PositiveInt, UnitInterval


class Recurrent(nn.Module):
    """An LSTM in place of attention: the cost of a token does not grow with the tokens before it.

        y = W_o LSTM(x)      Hochreiter and Schmidhuber 1997; beside attention in one stack as in
                             Lieber et al. 2024 (Jamba), arXiv:2403.19887, section 2, with an LSTM for Mamba

    x_BTD (and the cache, which holds the state as k and v, or starts_BT of documents, at which the state is
    zero) -> y_BTD.
    """

    splits = ("pipeline", "expert", "documents")
    starts = {"out.weight": "residual"}

    def __init__(self, width: PositiveInt, dropout: UnitInterval):
        super().__init__()
        self.recurrent = nn.LSTM(width, width, batch_first=True)
        self.out = nn.Linear(width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def weight_flops(self, rows: Rows) -> Tensor:
        """No gradient is computed for the state before the first token."""
        return first_state_flops(self.recurrent, rows)

    def forward(
        self, x_BTD: Tensor, cache: KeyValueCache | None = None, starts_BT: Tensor | None = None
    ) -> Tensor:
        if starts_BT is not None:
            return self.dropout(self.out(run_within_documents(self.recurrent, x_BTD, starts_BT)))
        if cache is None:
            y_BTD, _ = self.recurrent(x_BTD)
            return self.dropout(self.out(y_BTD))
        if cache.k is not None and cache.v is not None:
            y_BTD, state = self.recurrent(x_BTD, (cache.k.transpose(0, 1), cache.v.transpose(0, 1)))
        elif cache.padding is not None:
            y_BTD, state = cache.padding.run(self.recurrent, x_BTD)
        else:
            y_BTD, state = self.recurrent(x_BTD)
        cache.k, cache.v = (x.transpose(0, 1) for x in state)
        cache.length += x_BTD.shape[1]
        return self.dropout(self.out(y_BTD))


def first_state_flops(recurrent: nn.LSTM, rows: Rows) -> Tensor:
    """What each row leaves out of 6 FLOPs for each element of U: dh = U^T dz of a first state of zeros."""
    gates = 4 * recurrent.num_layers
    return -2 * gates * recurrent.hidden_size**2 * (rows.tokens_R > 0)
