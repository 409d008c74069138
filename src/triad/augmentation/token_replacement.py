"""Put random tokens in the place of some that a model reads."""

from typing import Any

from torch import Tensor

from triad.augmentation.draws import Draw, find_words, list_words
from triad.layers.ranges import UnitInterval
from triad.layers.splitmix64 import to_fraction


class TokenReplacement:
    """Put any token of the vocabulary, all as likely, in the place of each token with probability `rate`.

        x'_i = v_i where u_i < rate, else x_i,   u_i ~ U(0, 1),   v_i ~ U(vocabulary)

    Wang et al. 2018 (SwitchOut), arXiv:1808.07512, section 3, on what is read alone, and with a fixed rate
    where the paper draws the number of replacements of a sentence. No separator or other special token is
    put in. Targets, separators and padding stay. tokens_BT -> tokens_BT.
    """

    def __init__(self, rate: UnitInterval, tokenizer: Any) -> None:
        self.rate, self.is_word_V = rate, list_words(tokenizer)

    def __call__(self, tokens_BT: Tensor, draw: Draw) -> Tensor:
        length = tokens_BT.shape[1]
        chosen_BT = to_fraction(draw("token_replacement", length)) < self.rate
        words_W = self.is_word_V.nonzero().squeeze(-1).to(tokens_BT.device)
        words_BT = words_W[draw("replacing", length) % len(words_W)]
        return words_BT.where(chosen_BT & find_words(tokens_BT, self.is_word_V), tokens_BT)
