"""Span corruption: a text with holes is read, what was in the holes is written.

Shapes: B rows here, R rows of the whole batch, T time of a row, N entries that are sorted out, M spans.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triad.decoding.decode import decode
from triad.decoding.greedy import Greedy
from triad.layers.cross_entropy import IGNORED
from triad.layers.full_attention import PADDING
from triad.layers.ranges import NonNegativeFloat, PositiveFloat, PositiveInt, UnitInterval
from triad.layers.splitmix64 import LARGEST
from triad.tasks.likelihood import CrossEntropy, likelihood, perplexity
from triad.tasks.sequence_to_sequence import read_row


class Lengths(NamedTuple):
    """Of each row: how many tokens are hidden, in how many spans, and how long both sides are."""

    hidden: Any
    spans: Any
    source: Any
    target: Any


class SpanCorruption:
    """Predict the spans that are hidden in a text, with an encoder-decoder (T5).

        source   x_1 .. <1> .. x_i .. <2> .. end        a sentinel in the place of each span
        target   <1> span 1 <2> span 2 .. end
        loss = sum_t -log p(y_t | y_<t, source) / (words of the global batch's targets)
        Raffel et al. 2020, arXiv:1910.10683, section 3.1.4; spans by section 3.3.4

    Of a row of n tokens round(share n) are hidden, at least 2 and not all, in round(hidden / span) spans.
    What is hidden and what is kept are each cut into so many pieces by borders that are drawn evenly, and the
    row begins with one that is kept. The draw is a pure function of (seed, step, row), in validation of the
    row. The model's words after those of the tokenizer are the end, which also begins a target, and the
    `sentinels`, which count from there upwards. Raises ValueError for a context that asks for more of them,
    or whose source would not fit it.
    """

    needs = {"model.sees": ("source",), "data.yields": ("text",)}
    predicts = "its tokens"
    lower_is_better = ("loss", "perplexity")
    per_token = ("loss", "perplexity")
    reads = ("source_BS", "tokens_BT", "targets_BT")
    measure, figures = staticmethod(likelihood), staticmethod(perplexity)

    def __init__(
        self,
        smoothing: UnitInterval,
        z_loss: NonNegativeFloat,
        share: UnitInterval,
        span: PositiveFloat,
        sentinels: PositiveInt,
        vocab_size: PositiveInt,
        context: PositiveInt,
    ) -> None:
        self.loss = CrossEntropy(smoothing, z_loss)
        self.share, self.span, self.end, self.context = share, span, vocab_size, context
        self.special_tokens = 1 + sentinels
        longest = Lengths(*(int(one) for one in self.find_lengths(torch.tensor(context))))
        if longest.spans > sentinels:
            raise ValueError(
                f"task.sentinels={sentinels}: a row of context={context} has {longest.spans} spans"
            )
        if longest.source > context:
            raise ValueError(
                f"task.share={share} span={span}: {longest.hidden} tokens hidden in {longest.spans} spans"
                f" make a source of {longest.source}, above context={context}; raise task.span or the context"
            )

    def find_lengths(self, length_R: Tensor) -> Lengths:
        """What is hidden of rows of these lengths, and how long both sides are."""
        hidden_R = (length_R * self.share).round().long().clamp_min(2).minimum((length_R - 1).clamp_min(0))
        spans_R = (hidden_R / self.span).round().long().clamp_min(1)
        spans_R = spans_R.minimum(hidden_R).minimum(length_R - hidden_R)
        ends_R = (length_R > 0).long()
        return Lengths(hidden_R, spans_R, length_R - hidden_R + spans_R + ends_R, hidden_R + spans_R + ends_R)

    def inputs(self, batch: dict, draw: Callable) -> dict:
        """Texts with holes, and what was in them."""
        tokens_BT = batch["tokens_BT"].where(batch["targets_BT"] != IGNORED, PADDING)
        length_B = (tokens_BT >= 0).sum(-1)
        own, whole = self.find_lengths(length_B), self.find_lengths(batch.get("lengths_R", length_B))
        hidden_BT = self._draw_spans(length_B, own, draw, tokens_BT.shape[1])
        begins_BT = hidden_BT & ~F.pad(hidden_BT, (1, -1))
        sentinel_BT = self.end + begins_BT.cumsum(-1)
        shown_BT = tokens_BT.where(~begins_BT, sentinel_BT)
        kept_BT = (tokens_BT >= 0) & (begins_BT | ~hidden_BT)
        source_BS = self._gather(shown_BT, kept_BT, length_B > 0, whole.source)
        both_BN = torch.stack((sentinel_BT, tokens_BT), -1).flatten(1)
        kept_BN = torch.stack((begins_BT, hidden_BT), -1).flatten(1)
        target_BT = self._gather(both_BN, kept_BN, length_B > 0, whole.target)
        begin_B1 = torch.full_like(target_BT[:, :1], self.end).where(length_B[:, None] > 0, PADDING)
        before_BT = torch.cat((begin_B1, target_BT[:, :-1].masked_fill(target_BT[:, 1:] < 0, PADDING)), 1)
        return {
            "source_BS": source_BS,
            "tokens_BT": before_BT,
            "targets_BT": target_BT.where(target_BT >= 0, IGNORED),
            "count": whole.target.sum(),
            "lengths": (whole.target, whole.source),
        }

    def _draw_spans(self, length_B: Tensor, own: Lengths, draw: Callable, time: int) -> Tensor:
        """Which tokens are hidden."""
        pieces = [
            _cut(draw(purpose, time), items_B, own.spans)
            for purpose, items_B in (("hidden", own.hidden), ("kept", length_B - own.hidden))
        ]
        hidden_BM, kept_BM = (piece[:, : max(int(own.spans.max()), 1)] for piece in pieces)
        ends_BM = (hidden_BM + kept_BM).cumsum(-1)
        steps_BT = torch.zeros(len(length_B), time + 1, dtype=torch.long, device=length_B.device)
        steps_BT.scatter_add_(1, ends_BM - hidden_BM, (hidden_BM > 0).long())
        steps_BT.scatter_add_(1, ends_BM, -(hidden_BM > 0).long())
        return steps_BT.cumsum(-1)[:, :time] > 0

    def _gather(self, values_BN: Tensor, kept_BN: Tensor, real_B: Tensor, length_R: Tensor) -> Tensor:
        """The entries that are kept, in their order, and the end of real rows; as wide as the longest row."""
        order_BN = (~kept_BN).long().argsort(stable=True, dim=-1)
        found_BN = F.pad(values_BN.gather(1, order_BN), (0, 1), value=PADDING)
        place_N = torch.arange(found_BN.shape[1], device=found_BN.device)
        number_B1 = kept_BN.sum(-1, keepdim=True)
        found_BN = found_BN.where(place_N < number_B1, PADDING)
        found_BN = found_BN.masked_fill((place_N == number_B1) & real_B[:, None], self.end)
        return found_BN[:, : int(length_R.max())]

    def sample(self, model: nn.Module, row: tuple, length: int, **_: Any) -> list[list[int]]:
        """What is kept of the row, and what is written into its holes."""
        source = read_row(row[0][0].tolist())
        asked: dict[str, Any] = {"ends": [self.end], "vocab_size": self.end + self.special_tokens}
        asked |= {"max_tokens": length, "context": self.context, "lockstep": True}
        found = decode(model, [[self.end]], Greedy(), sources=[source], **asked)
        return [[word for word in words if word < self.end] for words in (source, found[0][0].tokens)]


def _cut(draw_BT: Tensor, items_B: Tensor, pieces_B: Tensor) -> Tensor:
    """The lengths of pieces, none of them empty, into which so many items are cut at borders drawn evenly."""
    place_T = torch.arange(draw_BT.shape[1], device=draw_BT.device)
    between_BT = place_T < items_B[:, None] - 1
    rank_BT = draw_BT.where(between_BT, LARGEST).argsort(stable=True, dim=-1).argsort(dim=-1)
    border_BT = (between_BT & (rank_BT < pieces_B[:, None] - 1)).long()
    piece_BT = border_BT.cumsum(-1) - border_BT
    return torch.zeros_like(draw_BT).scatter_add_(1, piece_BT, (place_T < items_B[:, None]).long())
