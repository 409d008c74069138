"""Word dropout: hide some of the tokens that a model reads."""

from typing import Any

from torch import Tensor

from triad.augmentation.draws import Draw, find_words, list_words
from triad.layers.ranges import UnitInterval
from triad.layers.splitmix64 import to_fraction


class TokenDropout:
    """Put the unknown token in the place of each token with probability `rate`.

        x'_i = unknown where u_i < rate, else x_i,   u_i ~ U(0, 1)

    Bowman et al. 2016, arXiv:1511.06349, section 3.1 (word dropout); Xie et al. 2017, arXiv:1703.02573,
    section 3.2 (blank noising). Each token by itself, where Gal & Ghahramani 2016 (arXiv:1512.05287) hide all
    occurrences of a word together. Targets stay: a causal model predicts the next token, also behind hidden
    ones and a hidden one itself. Separators and padding stay. tokens_BT -> tokens_BT.
    """

    needs = {"tokenizer.has_unknown": (True,)}

    def __init__(self, rate: UnitInterval, tokenizer: Any) -> None:
        self.rate, self.unknown, self.is_word_V = rate, tokenizer.unknown, list_words(tokenizer)

    def __call__(self, tokens_BT: Tensor, draw: Draw) -> Tensor:
        hidden_BT = to_fraction(draw("token_dropout", tokens_BT.shape[1])) < self.rate
        hidden_BT &= find_words(tokens_BT, self.is_word_V)
        return tokens_BT.masked_fill(hidden_BT, self.unknown)
