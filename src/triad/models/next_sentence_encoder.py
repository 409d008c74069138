"""An encoder with both heads of BERT's pre-training. Shapes: B batch, T time, D width, V vocabulary."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from triad.layers.bert_head import NextSentence
from triad.models.classifier import remove_readout


class NextSentenceEncoder(nn.Module):
    """Predict hidden tokens of a pair of texts, and whether the second followed the first.

    tokens_BT, segments_BT -> ((logits_BTV, logits_B2), one Routing per layer of experts), or with `loss` what
    loss(hidden_BTD, weight_VD, vocabulary=, bias_V=, relation_B2=) gives in the first place. `body` is an
    encoder; its readout and the layer before it are this model's, and its other parameters have the prefix
    `body.`. Devlin et al. 2018 (BERT), arXiv:1810.04805, section 3.1.
    """

    splits = ("expert",)
    sequences = {"next_sentence": "row"}

    def __init__(self, body: Any):
        super().__init__()
        self.vocab_size, self.width, self.depth = body.vocab_size, body.width, body.depth
        self.initial, self.head = body.initial, None
        self.starts = {f"body.{name}": start for name, start in body.starts.items()}
        self.transform, self.readout = body.transform, body.readout
        self.body = remove_readout(body)
        self.next_sentence = NextSentence(self.width)

    @property
    def embedding(self) -> nn.Module:
        """Its weight is that of the readout, too."""
        return self.body.embedding

    def forward(
        self, tokens_BT: Tensor, segments_BT: Tensor, loss: Callable | None = None
    ) -> tuple[Any, tuple]:
        segments = {} if self.body.segment is None else {"segments_BT": segments_BT}
        hidden_BTD, routings = self.body(tokens_BT, **segments)
        relation_B2 = self.next_sentence(hidden_BTD)
        read = partial(self.readout, self.transform(hidden_BTD), self.body.embedding.weight)
        if loss is None:
            return (read(None), relation_B2), routings
        return read(partial(loss, relation_B2=relation_B2)), routings
