"""Hide spans of the tokens that a model reads."""

import math
from typing import Annotated, Any

import torch
from torch import Tensor

from triad.augmentation.draws import Draw, find_words, list_words
from triad.layers.ranges import PositiveInt, UnitInterval
from triad.layers.splitmix64 import to_fraction


class SpanMask:
    """Put the unknown token in the place of spans, so that each token is hidden with probability `rate`.

        P(L = l) ~ p (1 - p)^(l - 1),   l = 1 ... longest
        Joshi et al. 2020 (SpanBERT), arXiv:1907.10529, section 3.1: p = 0.2, longest = 10, 3.8 in the mean

    At each position a span begins with probability q, and spans may touch or overlap: a token is hidden with
    probability 1 - prod_{l < longest} (1 - q P(L > l)), from which q follows. Spans also begin before a row,
    so that its first tokens are hidden as often. The paper draws spans until `rate` of a row is hidden, of
    whole words. Targets, separators and padding stay. tokens_BT -> tokens_BT.
    """

    needs = {"tokenizer.has_unknown": (True,)}

    def __init__(
        self, rate: UnitInterval, p: Annotated[float, "> 0", "< 1"], longest: PositiveInt, tokenizer: Any
    ) -> None:
        self.unknown, self.is_word_V = tokenizer.unknown, list_words(tokenizer)
        left_L = [(1 - p) ** length for length in range(longest + 1)]
        # P(L > l), l = 0 ...
        self.longer_L = [(left - left_L[-1]) / (1 - left_L[-1]) for left in left_L[:-1]]
        self.begin = _find_begin(rate, self.longer_L)

    def __call__(self, tokens_BT: Tensor, draw: Draw) -> Tensor:
        length, before = tokens_BT.shape[1], len(self.longer_L) - 1
        begins_BS = to_fraction(draw("span_begin", length + before)) < self.begin
        long_BS = to_fraction(draw("span_length", length + before))
        hidden_BT = torch.zeros_like(tokens_BT, dtype=torch.bool)
        for back, longer in enumerate(self.longer_L):  # a span that began so long ago is longer than that
            begun = slice(before - back, before - back + length)
            hidden_BT |= begins_BS[:, begun] & (long_BS[:, begun] < longer)
        hidden_BT &= find_words(tokens_BT, self.is_word_V)
        return tokens_BT.masked_fill(hidden_BT, self.unknown)


def _find_begin(rate: float, longer_L: list[float]) -> float:
    """The probability that a span begins at a token, by bisection."""
    low, high = 0.0, 1.0
    while (middle := (low + high) / 2) not in (low, high):
        hidden = 1 - math.prod(1 - middle * longer for longer in longer_L)
        low, high = (low, middle) if hidden >= rate else (middle, high)
    return high if rate else 0.0
