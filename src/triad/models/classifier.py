"""A model that predicts the label of a row. Shapes: B batch, T time, D width, C labels."""

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
    causal model.
    """

    splits = ("expert",)
    roles = {"head.weight": "head"}
    sequences = {"head": "row", "body.pooler": "row"}

    def __init__(self, body: Any, labels: int, pool: Callable | None, dropout: float):
        super().__init__()
        self.vocab_size, self.width, self.depth = body.vocab_size, body.width, body.depth
        self.initial = body.initial
        body.head, body.readout = None, HiddenStates()
        if body.sees == "both sides":
            body.transform = nn.Identity()
        self.body = body
        own = mean if body.sees == "both sides" else last
        self.pool = pool or (None if getattr(body, "pooler", None) else own)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.width, labels)

    def forward(self, tokens_BT: Tensor, loss: Callable | None = None) -> tuple[Any, tuple]:
        hidden_BTD, routings = self.body(tokens_BT)
        pooled_BD = (
            self.body.pooler(hidden_BTD) if self.pool is None else self.pool(hidden_BTD, tokens_BT >= 0)
        )
        pooled_BD = self.dropout(pooled_BD)
        if loss is None:
            return self.head(pooled_BD), routings
        return loss(pooled_BD, self.head.weight, bias_V=self.head.bias), routings


class HiddenStates(nn.Module):
    """Takes the place of a readout and returns the hidden states."""

    splits = ("expert",)

    def forward(self, hidden_BTD: Tensor, weight_VD: Tensor, loss: Callable | None) -> Tensor:
        return hidden_BTD
