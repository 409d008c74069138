"""Models that predict the label of a row, or of each token. Shapes: B batch, T time, D width, C labels."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from triad.layers.pooling import last, mean


class Classifier(nn.Module):
    """Predict which of C labels a row has, from one vector pooled from its hidden states.

        logits = W dropout(pool(h_1, ..., h_n)) + b      Devlin et al. 2018 (BERT), arXiv:1810.04805,
                                                         section 4.1; with an LSTM's last state: Dai and
                                                         Le 2015, arXiv:1511.01432, section 2

    tokens_BT -> (logits_BC, one Routing per layer of experts), or loss(pooled_BD, weight_CD, bias_V=) in the
    first place. Tokens below 0 are padding, which changes no logit. `body` is a model of tokens, from which
    the output layer is removed; its parameters keep their names, with the prefix `body.`. `pool(hidden_BTD,
    real_BT)` null: the body's own pooler if it has one, else the mean for an encoder and the last state for a
    causal model. `head(D, C)` makes the last layer, with a weight and a bias. A row of two texts has the
    token `separator` before each; a body with a table of segments is told which tokens are of the second.
    """

    splits = ("expert",)
    roles = {"head.weight": "head"}
    sequences = {"head": "row", "body.pooler": "row"}

    def __init__(
        self,
        body: Any,
        labels: int,
        pool: Callable | None,
        dropout: float,
        head: Callable[[int, int], Any] = nn.Linear,
        separator: int | None = None,
    ):
        super().__init__()
        self.vocab_size, self.width, self.depth = body.vocab_size, body.width, body.depth
        self.initial, self.separator = body.initial, separator
        self.body = remove_readout(body)
        own = mean if body.sees == "both sides" else last
        self.pool = pool or (None if getattr(body, "pooler", None) else own)
        self.dropout = nn.Dropout(dropout)
        self.head = head(self.width, labels)

    def forward(self, tokens_BT: Tensor, loss: Callable | None = None) -> tuple[Any, tuple]:
        hidden_BTD, routings = find_hidden(self.body, tokens_BT, self.separator)
        pooled_BD = (
            self.body.pooler(hidden_BTD) if self.pool is None else self.pool(hidden_BTD, tokens_BT >= 0)
        )
        pooled_BD = self.dropout(pooled_BD)
        if loss is None:
            return self.head(pooled_BD), routings
        return loss(pooled_BD, self.head.weight, bias_V=self.head.bias), routings


class TokenClassifier(nn.Module):
    """Predict which of C labels each token has, from its hidden state.

        logits_i = W dropout(h_i) + b      Devlin et al. 2018 (BERT), arXiv:1810.04805, section 4.2 (start and
                                           end of an answer: C = 2) and section 5.3 (names)

    tokens_BT -> (logits_BTC, one Routing per layer of experts), or loss(hidden_BTD, weight_CD, bias_V=) in
    the first place. `body` and `separator` are as a Classifier's; a pooler of the body is not used. Without
    `bias` b is 0, as where a softmax is over tokens, which b does not change.
    """

    splits = ("expert",)
    roles = {"token_head.weight": "head"}

    def __init__(
        self, body: Any, labels: int, dropout: float, separator: int | None = None, bias: bool = True
    ):
        super().__init__()
        self.vocab_size, self.width, self.depth = body.vocab_size, body.width, body.depth
        self.initial, self.separator = body.initial, separator
        body.pooler = None
        self.body = remove_readout(body)
        self.dropout = nn.Dropout(dropout)
        self.token_head = nn.Linear(self.width, labels, bias)

    @property
    def head(self) -> nn.Module:
        """The last matrix: a name of its own keeps it apart from a classifier's in a checkpoint."""
        return self.token_head

    def forward(self, tokens_BT: Tensor, loss: Callable | None = None) -> tuple[Any, tuple]:
        hidden_BTD, routings = find_hidden(self.body, tokens_BT, self.separator)
        hidden_BTD = self.dropout(hidden_BTD)
        if loss is None:
            return self.token_head(hidden_BTD), routings
        return loss(hidden_BTD, self.token_head.weight, bias_V=self.token_head.bias), routings


def remove_readout(body: Any) -> Any:
    """A language model that returns its last hidden states in the place of logits."""
    body.head, body.readout = None, HiddenStates()
    if body.sees == "both sides":
        body.transform = nn.Identity()
    return body


def find_hidden(body: Any, tokens_BT: Tensor, separator: int | None) -> tuple[Tensor, tuple]:
    """The hidden states of a body; with a table of segments it is told which tokens are of a second text.

    A row is separator, first text, separator, second text, and perhaps one more separator; texts have none.
    """
    if separator is None or getattr(body, "segment", None) is None or body.segment.num_embeddings < 2:
        return body(tokens_BT)
    ends_BT = (tokens_BT == separator).long()
    return body(tokens_BT, segments_BT=(ends_BT.cumsum(-1) - ends_BT >= 2).long())


class HiddenStates(nn.Module):
    """Takes the place of a readout and returns the hidden states."""

    splits = ("expert",)

    def forward(self, hidden_BTD: Tensor, weight_VD: Tensor, loss: Callable | None) -> Tensor:
        return hidden_BTD
