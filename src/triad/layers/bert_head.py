"""The layers between an encoder's last block and its logits.

Shapes: B batch, T time, D width, V vocabulary.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triad.layers.ranges import PositiveInt
from triad.layers.readout import Readout


class Transform(nn.Module):
    """One more layer before the logits.

        norm(gelu(W h + b))      Devlin et al. 2018 (BERT), arXiv:1810.04805; the head of its published code

    hidden_BTD -> hidden_BTD. `norm(D)` makes the norm.
    """

    splits = ("expert", "documents")

    def __init__(self, width: PositiveInt, norm: Callable):
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = norm(width)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        return self.norm(F.gelu(self.dense(hidden_BTD)))


class BiasedReadout(Readout):
    """A readout with a bias for each word: logits = W h + b.

    hidden_BTD, weight_VD -> logits_BTV, or with `loss` what loss(hidden_BTD, weight_VD, vocabulary=, bias_V=)
    gives.
    """

    splits = ("expert", "documents")
    starts = {"bias": 0.0}

    def __init__(self, vocab_size: int):
        super().__init__()
        self.bias = nn.Parameter(torch.empty(vocab_size))

    def forward(self, hidden_BTD: Tensor, weight_VD: Tensor, loss: Callable | None) -> Any:
        if loss is None:
            return F.linear(hidden_BTD, weight_VD, self.bias)
        return super().forward(hidden_BTD, weight_VD, partial(loss, bias_V=self.bias))


class Pooler(nn.Module):
    """One vector for a whole sequence, computed from its first token, for a classifier.

        tanh(W h_0 + b)      Devlin et al. 2018 (BERT), arXiv:1810.04805, section 3.1 (the vector C)

    hidden_BTD -> pooled_BD.
    """

    splits = ("expert",)

    def __init__(self, width: int):
        super().__init__()
        self.dense = nn.Linear(width, width)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        return self.dense(hidden_BTD[:, 0]).tanh()


class NextSentence(nn.Module):
    """Predict whether the second segment followed the first in the corpus: BERT's second objective.

        softmax(W tanh(W' h_0 + b') + b)      Devlin et al. 2018 (BERT), arXiv:1810.04805, section 3.1, task 2

    hidden_BTD -> logits_B2: "follows" and "does not", as in its published code. Given as an encoder's
    `pooler`.
    """

    splits = ("expert",)

    def __init__(self, width: int):
        super().__init__()
        self.pooler = Pooler(width)
        self.relation = nn.Linear(width, 2)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        return self.relation(self.pooler(hidden_BTD))
