"""Encoder-only Transformers. Shapes: B batch, T time, D width, V vocabulary."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from triad.layers.bert_head import BiasedReadout
from triad.layers.documents import Offset, find_offset
from triad.layers.flops import Rows
from triad.layers.full_attention import visible_mask
from triad.layers.moe import Routing
from triad.layers.ranges import NonNegativeInt, PositiveInt, UnitInterval
from triad.layers.readout import Readout
from triad.layers.residual import apply_feedforward


class Encoder(nn.Module):
    """Predict each token from all tokens of its sequence, before and after it.

        x = norm(embed(tokens) + position + segment);   x = norm(x + attention(x)),
        x = norm(x + feedforward(x)),  `depth` times;   logits = W transform(x) + b
        Devlin et al. 2018 (BERT), arXiv:1810.04805, after its published code

    tokens_BT -> (logits_BTV, one Routing per layer of experts). Tokens below 0 are padding, which no token
    sees; with starts_BT a token sees those of its own document of a row. With `loss` the first is
    loss(hidden_BTD, weight_VD, vocabulary=, bias_V=). segments_BT is the sentence of each token (null: the
    first; `segments` 0: no such table). W is the embedding. `residual(norm)` makes the residual connections;
    `transform(D, norm)` null: logits = W x, as in a trunk for other tasks; `pooler(D)` makes the module that
    `pool` applies. `embedding_norm` and `last_norm` are norms before and after the blocks, or null. Raises
    ValueError for more tokens than `context`.
    """

    sees = "both sides"
    splits = ("expert", "documents")
    starts = {"embedding.weight": "tied"}
    tied = True  # the embedding is the head
    sequences = {"pooler": None}  # forward does not call it

    def __init__(
        self,
        vocab_size: PositiveInt,
        context: PositiveInt,
        width: PositiveInt,
        depth: PositiveInt,
        segments: NonNegativeInt,
        dropout: UnitInterval,
        norm: Callable,
        residual: Callable,
        attention: Callable,
        feedforward: Callable,
        position: Callable,
        embedding_norm: Callable | None,
        last_norm: Callable | None,
        transform: Callable | None,
        pooler: Callable | None,
        initial: Callable,
    ):
        super().__init__()
        self.vocab_size, self.context, self.width, self.depth = vocab_size, context, width, depth
        self.initial = initial
        self.embedding = nn.Embedding(vocab_size, width)
        self.position = position(context, width)
        self.segment = nn.Embedding(segments, width) if segments else None
        self.embedding_norm = embedding_norm(width) if embedding_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            EncoderBlock(residual(norm(width)), attention(width), residual(norm(width)), feedforward(width))
            for _ in range(depth)
        )
        self.last_norm = last_norm(width) if last_norm else nn.Identity()
        self.transform = transform(width, norm) if transform else nn.Identity()
        self.pooler = pooler(width) if pooler else None
        self.head = None  # the embedding, used a second time
        self.readout = BiasedReadout(vocab_size) if transform else Readout()

    def forward(
        self,
        tokens_BT: Tensor,
        starts_BT: Tensor | None = None,
        loss: Callable | None = None,
        segments_BT: Tensor | None = None,
    ) -> tuple[Any, tuple[Routing, ...]]:
        hidden_BTD, routings = self.encode(tokens_BT, segments_BT, starts_BT)
        return self.readout(self.transform(hidden_BTD), self.embedding.weight, loss), routings

    def pool(self, tokens_BT: Tensor, segments_BT: Tensor | None = None) -> Tensor:
        """One vector for each sequence, pooled_BD. Raises ValueError without a pooler."""
        if self.pooler is None:
            raise ValueError(
                "model.pooler=null: give the encoder a pooler, as conf/model/bert_base.yaml says"
            )
        return self.pooler(self.encode(tokens_BT, segments_BT)[0])

    def encode(
        self, tokens_BT: Tensor, segments_BT: Tensor | None, starts_BT: Tensor | None = None
    ) -> tuple[Tensor, tuple[Routing, ...]]:
        """The output of the blocks, hidden_BTD."""
        mask, routings = visible_mask(tokens_BT, starts_BT), []
        x_BTD = self.embed(tokens_BT, segments_BT, find_offset(0, starts_BT))
        for block in self.blocks:
            x_BTD, routing = block(x_BTD, mask, tokens_BT)
            if routing is not None:
                routings.append(routing)
        return self.last_norm(x_BTD), tuple(routings)

    def embed(self, tokens_BT: Tensor, segments_BT: Tensor | None, offset: Offset = 0) -> Tensor:
        """The input of the blocks, x_BTD."""
        if tokens_BT.shape[1] > self.context:
            raise ValueError(f"{tokens_BT.shape[1]} tokens do not fit into context={self.context}")
        x_BTD = self.position(self.embedding(tokens_BT.clamp_min(0)), offset)
        if self.segment is not None:
            x_BTD = x_BTD + (self.segment.weight[0] if segments_BT is None else self.segment(segments_BT))
        return self.dropout(self.embedding_norm(x_BTD))


class EncoderBlock(nn.Module):
    """Attention to the whole sequence and feed-forward, each joined to the residual stream.

    x_BTD, a mask of visible tokens (and tokens_BT for a layer of experts) -> x_BTD and the Routing of a
    layer of experts, else None.
    """

    splits = ("expert", "documents")

    def __init__(
        self,
        attention_residual: nn.Module,
        attention: nn.Module,
        feedforward_residual: nn.Module,
        feedforward: nn.Module,
    ):
        super().__init__()
        self.attention_residual = attention_residual
        self.attention = attention
        self.feedforward_residual = feedforward_residual
        self.feedforward = feedforward

    def mixing_flops(self, rows: Rows) -> Tensor:
        """FLOPs of attention, forward and backward."""
        return self.attention.flops_per_pair() * rows.count_both_sides()

    def forward(self, x_BTD: Tensor, mask: Tensor, tokens_BT: Tensor) -> tuple[Tensor, Routing | None]:
        y_BTD = self.attention_residual.enter(x_BTD)
        x_BTD = self.attention_residual.leave(x_BTD, self.attention(y_BTD, y_BTD, mask))
        y_BTD, routing = apply_feedforward(
            self.feedforward, self.feedforward_residual.enter(x_BTD), tokens_BT
        )
        return self.feedforward_residual.leave(x_BTD, y_BTD), routing
