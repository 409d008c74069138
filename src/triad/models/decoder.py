"""Decoder-only Transformers. Shapes: B batch, T time, D width, V vocabulary."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from triad.layers.attention import KeyValueCache, LayerCaches
from triad.layers.documents import Offset, find_offset
from triad.layers.moe import Routing
from triad.layers.padding import LeftPadding
from triad.layers.ranges import PositiveInt, UnitInterval
from triad.layers.readout import Readout


class Decoder(nn.Module):
    """Predict the next token from those before it.

        x = embed(tokens) + position;   x = block(x), `depth` times;   logits = W norm(x)
        Radford et al. 2019 (GPT-2); Touvron et al. 2023, arXiv:2302.13971 (Llama)

    tokens_BT -> (logits_BTV, one Routing per layer of experts). Tokens below 0 are padding, at the end of a
    row, where no token sees it. With starts_BT a row has several documents, which do not see each other. With
    `loss` the first is loss(hidden_BTD, weight_VD, vocabulary=), called
    inside the model, where a sharded head is gathered. With `cache` the tokens follow those already in it.
    `norm(D)`, `attention(D)`, `feedforward(D)` make the parts and `block(norm, attention, norm, feedforward)`
    combines them; `pattern(layer)` gives other ones to a layer; `position(context, D)` follows the embedding.
    There is no last norm if the blocks' output is normalised. `tied` uses the embedding as head; `initial` is
    the rule for initial weights. Raises ValueError for more tokens than `context`.
    """

    sees = "past"
    splits = ("tensor", "context", "pipeline", "expert", "documents")
    roles = {"head.weight": "head"}
    before, behind = ("embedding", "position"), ("norm", "head")  # the parts used by embed and by read

    def __init__(
        self,
        vocab_size: PositiveInt,
        context: PositiveInt,
        width: PositiveInt,
        depth: PositiveInt,
        tied: bool,
        dropout: UnitInterval,
        block: Callable,
        norm: Callable,
        attention: Callable,
        feedforward: Callable,
        position: Callable | None,
        pattern: Callable | None,
        initial: Callable,
    ):
        super().__init__()
        self.vocab_size, self.context, self.width, self.depth = vocab_size, context, width, depth
        self.initial = initial
        self.embedding = nn.Embedding(vocab_size, width)
        self.position = position(context, width) if position else None
        self.dropout = nn.Dropout(dropout)
        parts = {"block": block, "norm": norm, "attention": attention, "feedforward": feedforward}
        self.blocks = nn.ModuleList(
            _make_block(width, **parts | (pattern(layer) if pattern else {})) for layer in range(depth)
        )
        self.norm = nn.Identity() if self.blocks[-1].normalised else norm(width)
        self.head = None if tied else nn.Linear(width, vocab_size, bias=False)
        self.starts = {"embedding.weight": "tied"} if tied else {}
        self.readout = Readout()

    def forward(
        self,
        tokens_BT: Tensor,
        starts_BT: Tensor | None = None,
        loss: Callable | None = None,
        cache: LayerCaches | None = None,
    ) -> tuple[Any, tuple[Routing, ...]]:
        past = cache[0].offset(tokens_BT.shape[1]) if cache else 0
        length = tokens_BT.shape[1] + (cache[0].length if cache else 0)
        x_BTD = self.embed(tokens_BT, find_offset(past, starts_BT))
        starts = () if starts_BT is None else (starts_BT,)
        routings = []
        for block, past in zip(self.blocks, cache or [None] * self.depth, strict=True):
            x_BTD, routing = block(x_BTD, past, tokens_BT, *starts)
            if routing is not None:
                routings.append(routing)
        if cache:
            cache.refuse_unfilled((block.attention for block in self.blocks), length)
        return self.read(x_BTD, loss), tuple(routings)

    def empty_cache(self, batch: int, padding_B: Tensor | None = None) -> LayerCaches:
        """A cache for `batch` sequences of `context` tokens; forward fills it in place.

        `padding_B` tokens of padding stand before the first of each row, in the first call.
        """
        padding = None if padding_B is None else LeftPadding(padding_B)
        return LayerCaches([KeyValueCache(batch, self.context, padding) for _ in self.blocks], padding)

    def embed(self, tokens_BT: Tensor, offset: Offset = 0) -> Tensor:
        """The input of the blocks: tokens_BT, the first of them at position `offset`, -> x_BTD."""
        end = tokens_BT.shape[1] + (offset if isinstance(offset, int) else 0)
        if end > self.context:
            raise ValueError(f"{end} tokens do not fit into context={self.context}")
        x_BTD = self.embedding(tokens_BT.clamp_min(0))
        return self.dropout(x_BTD if self.position is None else self.position(x_BTD, offset))

    def read(self, x_BTD: Tensor, loss: Callable | None = None) -> Any:
        """The output of the model: x_BTD -> logits_BTV, or the result of `loss`."""
        # not one Parameter in two modules: materialising a meta model would make two of it
        weight_VD = self.embedding.weight if self.head is None else self.head.weight
        return self.readout(self.norm(x_BTD), weight_VD, loss)


def _make_block(
    width: int, block: Callable, norm: Callable, attention: Callable, feedforward: Callable
) -> nn.Module:
    return block(norm(width), attention(width), norm(width), feedforward(width))
