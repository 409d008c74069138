"""From the last hidden state to logits, or directly to a loss.

Shapes: B batch, T time, D width, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from triad.layers.cross_entropy import WHOLE, Vocabulary


class Readout(nn.Module):
    """Multiply by the head's weight, which is an argument because it may be the embedding's.

        logits = W h      Press and Wolf 2017, arXiv:1608.05859, eq. 1 (tied or not)

    hidden_BTD, weight_VD -> logits_BTV, or with `loss` what loss(hidden_BTD, weight_VD, vocabulary=) gives.
    The attribute `vocabulary` may be replaced from outside, where the weight holds some of the rows only.
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")

    def __init__(self) -> None:
        super().__init__()
        self.vocabulary: Vocabulary = WHOLE

    def forward(self, hidden_BTD: Tensor, weight_VD: Tensor, loss: Callable | None) -> Any:
        if loss is None:
            return F.linear(hidden_BTD, weight_VD)
        return loss(hidden_BTD, weight_VD, vocabulary=self.vocabulary)
