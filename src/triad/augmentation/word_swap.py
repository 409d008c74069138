"""Exchange tokens with near ones."""

from typing import Any

import torch
from torch import Tensor

from triad.augmentation.draws import Draw, find_words, list_words
from triad.layers.ranges import NonNegativeInt
from triad.layers.splitmix64 import to_fraction


class WordSwap:
    """Shuffle tokens so that none moves by more than `distance` places.

        order by  q_i = i + u_i (distance + 1),   u_i ~ U(0, 1)      Lample et al. 2018, arXiv:1711.00043,
                                                                     section 2.3; distance = 3 there

    Separators and padding stay where they are, and nothing moves across them. Tokens, where the paper moves
    words. tokens_BT -> tokens_BT.
    """

    # a token that moved would stand before the place where it is to be predicted
    needs = {"task.predicts": ("a sequence", "a label")}

    def __init__(self, distance: NonNegativeInt, tokenizer: Any) -> None:
        self.distance, self.is_word_V = distance, list_words(tokenizer)

    def __call__(self, tokens_BT: Tensor, draw: Draw) -> Tensor:
        length = tokens_BT.shape[1]
        place_T = torch.arange(length, device=tokens_BT.device)
        fixed_BT = (~find_words(tokens_BT, self.is_word_V)).long()
        stretch_BT = 2 * fixed_BT.cumsum(-1) - fixed_BT  # what is fixed lies alone, between others
        key_BT = place_T + to_fraction(draw("word_swap", length)) * (self.distance + 1)
        key_BT += stretch_BT.double() * (length + self.distance + 1)
        return tokens_BT.gather(-1, key_BT.argsort(stable=True, dim=-1))
