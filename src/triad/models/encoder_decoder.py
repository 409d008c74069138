"""Encoder-decoder Transformers. Shapes: B batch, S source time, T target time, D width, V vocabulary."""

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn

from triad.layers.documents import Offset
from triad.layers.flops import Rows
from triad.layers.full_attention import (
    CrossAttentionCache,
    SelfAttentionCache,
    causal_mask,
    mask_bias,
    visible_mask,
)
from triad.layers.moe import Routing
from triad.layers.padding import LeftPadding
from triad.layers.ranges import PositiveInt, UnitInterval
from triad.layers.readout import Readout
from triad.layers.residual import apply_feedforward
from triad.models.encoder import EncoderBlock


class EncoderDecoder(nn.Module):
    """Encode a source in both directions, then predict each target token from those before it and the source.

        m = encoder(embed(source));   y = embed(target),  then `depth` times
        y = norm(y + attention(y)),   y = norm(y + attention(y, m)),   y = norm(y + feedforward(y))
        logits = W y
        Vaswani et al. 2017, arXiv:1706.03762, figure 1; Raffel et al. 2020 (T5), arXiv:1910.10683

    source_BS, tokens_BT -> (logits_BTV, one Routing per layer of experts). Tokens below 0 are padding, which
    no token sees. With `loss` the first is loss(hidden_BTD, weight_VD, vocabulary=). With `cache` the tokens
    follow those already in it, and the source is encoded at the first call only. W is the embedding, for both
    languages, `scaled` by sqrt(D) at the input (the paper's section 3.4) or by 1 / sqrt(D) at the output
    (T5). `residual(norm)` makes the residual connections; `position(context, D)` and
    `relative(heads=, bidirectional=)` make the positions of each stack, or are null; `last_norm` ends each
    stack, or is null; `pattern(layer)` gives a layer of both stacks another `norm`, `residual`, `attention`
    or `feedforward`. Raises ValueError for more tokens than `context`.
    """

    sees = "source"
    splits = ("expert",)
    starts = {"embedding.weight": "tied"}
    tied = True  # the embedding is the head
    sequences = {"encoder": "source"}

    def __init__(
        self,
        vocab_size: PositiveInt,
        context: PositiveInt,
        width: PositiveInt,
        depth: PositiveInt,
        scaled: Literal["input", "output"],
        dropout: UnitInterval,
        norm: Callable,
        residual: Callable,
        attention: Callable,
        feedforward: Callable,
        position: Callable | None,
        relative: Callable | None,
        last_norm: Callable | None,
        pattern: Callable | None,
        initial: Callable,
    ):
        super().__init__()
        self.vocab_size, self.context, self.width, self.depth = vocab_size, context, width, depth
        self.scaled, self.initial = scaled, initial
        self.embedding = nn.Embedding(vocab_size, width)

        parts = {"norm": norm, "residual": residual, "attention": attention, "feedforward": feedforward}
        layers = [parts | (pattern(layer) if pattern else {}) for layer in range(depth)]
        self.encoder = Stack(
            [EncoderBlock(*_make_parts(width, ("attention", "feedforward"), **layer)) for layer in layers],
            position(context, width) if position else None,
            relative(bidirectional=True) if relative else None,
            last_norm(width) if last_norm else nn.Identity(),
            dropout,
        )
        self.decoder = Stack(
            [
                DecoderBlock(*_make_parts(width, ("attention", "attention", "feedforward"), **layer))
                for layer in layers
            ],
            position(context, width) if position else None,
            relative(bidirectional=False) if relative else None,
            last_norm(width) if last_norm else nn.Identity(),
            dropout,
        )
        self.head = None  # the embedding, used a third time
        self.readout = Readout()

    def forward(
        self,
        source_BS: Tensor,
        tokens_BT: Tensor,
        loss: Callable | None = None,
        cache: "DecoderCache | None" = None,
    ) -> tuple[Any, tuple[Routing, ...]]:
        routings: list[Routing] = []
        memory_BSD = cache.memory_BSD if cache is not None else None
        if memory_BSD is None:
            memory_BSD = self.encode(source_BS, routings)
        if cache is not None:
            cache.memory_BSD = memory_BSD
        hidden_BTD = self.decode(tokens_BT, memory_BSD, visible_mask(source_BS), cache, routings)
        if self.scaled == "output":
            hidden_BTD = hidden_BTD * self.width**-0.5
        return self.readout(hidden_BTD, self.embedding.weight, loss), tuple(routings)

    def empty_cache(self, batch: int, padding_B: Tensor | None = None) -> "DecoderCache":
        """A cache for `batch` sources and targets of `context` tokens; forward fills it in place.

        `padding_B` tokens of padding stand before the first of each target, in the first call.
        """
        padding = None if padding_B is None else LeftPadding(padding_B)
        return DecoderCache(batch, self.context, self.depth, padding)

    def encode(self, source_BS: Tensor, routings: list[Routing]) -> Tensor:
        """The encoder's output, memory_BSD."""
        x_BSD, bias_NSS = self.encoder.enter(self.embed(source_BS), 0, 0)
        mask = mask_bias(bias_NSS, visible_mask(source_BS))
        for block in self.encoder.blocks:
            x_BSD, routing = block(x_BSD, mask, source_BS)
            routings += [] if routing is None else [routing]
        return self.encoder.leave(x_BSD)

    def decode(
        self,
        tokens_BT: Tensor,
        memory_BSD: Tensor,
        mask_B11S: Tensor,
        cache: "DecoderCache | None",
        routings: list[Routing],
    ) -> Tensor:
        """The decoder's output for each token of the target, hidden_BTD."""
        new, past = tokens_BT.shape[1], cache.length if cache is not None else 0
        padding = cache.padding if cache is not None else None
        offset = past if padding is None else padding.offset(past, new)
        x_BTD, bias_NTT = self.decoder.enter(self.embed(tokens_BT, past), past, offset)
        seen = causal_mask(new, past, tokens_BT.device)
        if padding is not None:
            seen = seen & padding.visible(new, past)
        mask = mask_bias(bias_NTT, seen)
        for index, block in enumerate(self.decoder.blocks):
            caches = cache.layers[index] if cache is not None else (None, None)
            x_BTD, routing = block(x_BTD, mask, memory_BSD, mask_B11S, tokens_BT, *caches)
            routings += [] if routing is None else [routing]
        return self.decoder.leave(x_BTD)

    def embed(self, tokens_BT: Tensor, offset: int = 0) -> Tensor:
        """The vectors of tokens, the first of them at position `offset`."""
        end = offset + tokens_BT.shape[1]
        if end > self.context:
            raise ValueError(f"{end} tokens do not fit into context={self.context}")
        x_BTD = self.embedding(tokens_BT.clamp_min(0))
        return x_BTD * self.width**0.5 if self.scaled == "input" else x_BTD


def _make_parts(
    width: int, names: tuple[str, ...], norm: Callable, residual: Callable, **parts: Callable
) -> list:
    """The parts of a block, each preceded by its residual connection."""
    return [module for name in names for module in (residual(norm(width)), parts[name](width))]


class Stack(nn.Module):
    """Blocks, with positions and dropout before them and a norm after them."""

    splits = ("expert",)

    def __init__(
        self,
        blocks: list[nn.Module],
        position: nn.Module | None,
        relative: nn.Module | None,
        last_norm: nn.Module,
        dropout: float,
    ):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.position, self.relative, self.last_norm = position, relative, last_norm
        self.dropout = nn.Dropout(dropout)

    def enter(self, x_BTD: Tensor, past: int, offset: Offset) -> tuple[Tensor, Tensor | None]:
        """Add positions to the words, x_BTD, and make the positions' bias for attention, bias_NTS or None.

        `past` words came before; the offset for positions differs from it where padding is among them.
        """
        total = past + x_BTD.shape[1]
        bias_NTS = None if self.relative is None else self.relative(x_BTD.shape[1], total, past)
        return self.dropout(x_BTD if self.position is None else self.position(x_BTD, offset)), bias_NTS

    def leave(self, x_BTD: Tensor) -> Tensor:
        """The output of the stack."""
        return self.last_norm(x_BTD)


class DecoderBlock(nn.Module):
    """Attention to the target so far, attention to the source, feed-forward, each with a residual connection.

    x_BTD and its mask, memory_BSD and its mask, tokens_BT for a layer of experts (and the caches of both
    attentions) -> x_BTD and the Routing of a layer of experts, else None.
    """

    splits = ("expert",)
    sequences = {"cross.k": "source", "cross.v": "source"}

    def __init__(
        self,
        attention_residual: nn.Module,
        attention: nn.Module,
        cross_residual: nn.Module,
        cross: nn.Module,
        feedforward_residual: nn.Module,
        feedforward: nn.Module,
    ):
        super().__init__()
        self.attention_residual = attention_residual
        self.attention = attention
        self.cross_residual = cross_residual
        self.cross = cross
        self.feedforward_residual = feedforward_residual
        self.feedforward = feedforward

    def mixing_flops(self, rows: Rows) -> Tensor:
        """FLOPs of both kinds of attention, forward and backward."""
        own_R = self.attention.flops_per_pair() * rows.count_past()
        return own_R + self.cross.flops_per_pair() * rows.count_source()

    def forward(
        self,
        x_BTD: Tensor,
        mask: Tensor,
        memory_BSD: Tensor,
        memory_mask: Tensor,
        tokens_BT: Tensor,
        own_cache: SelfAttentionCache | None = None,
        source_cache: CrossAttentionCache | None = None,
    ) -> tuple[Tensor, Routing | None]:
        y_BTD = self.attention_residual.enter(x_BTD)
        x_BTD = self.attention_residual.leave(x_BTD, self.attention(y_BTD, y_BTD, mask, own_cache))
        y_BTD = self.cross(self.cross_residual.enter(x_BTD), memory_BSD, memory_mask, source_cache)
        x_BTD = self.cross_residual.leave(x_BTD, y_BTD)
        y_BTD, routing = apply_feedforward(
            self.feedforward, self.feedforward_residual.enter(x_BTD), tokens_BT
        )
        return self.feedforward_residual.leave(x_BTD, y_BTD), routing


class DecoderCache:
    """The encoded source, and of each layer the keys and values of the target so far and of the source."""

    def __init__(self, batch: int, context: int, depth: int, padding: LeftPadding | None = None):
        self.layers = [(SelfAttentionCache(batch, context), CrossAttentionCache()) for _ in range(depth)]
        self.memory_BSD: Tensor | None = None  # until the source is encoded
        self.padding = padding

    def select(self, rows_R: Tensor) -> None:
        """Keep some rows, in a given order, each as often as it is named."""
        if self.padding is not None:
            self.padding.select(rows_R)
        if self.memory_BSD is not None:
            self.memory_BSD = self.memory_BSD.index_select(0, rows_R)
        for own, source in self.layers:
            own.select(rows_R)
            source.select(rows_R)

    def overwrite(self, rows_M: Tensor, others_M: Tensor, since: int) -> None:
        """Put others in the place of some rows of the same source and prompt: see KeyValueCache."""
        for own, _ in self.layers:
            own.overwrite(rows_M, others_M, since)

    @property
    def length(self) -> int:
        """Tokens of the target so far."""
        return self.layers[0][0].length
