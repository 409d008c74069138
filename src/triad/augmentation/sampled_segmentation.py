"""Subword regularisation: cut the text of a row into tokens in another way each time it is read."""

from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from triad.augmentation.draws import Draw
from triad.layers.full_attention import PADDING
from triad.layers.ranges import PositiveInt, UnitInterval


class SampledSegmentation:
    """Read one of the ways to cut the text of each row into tokens, drawn at random.

    Of a unigram tokenizer by P(x)^alpha: subword regularization, Kudo 2018, arXiv:1804.10959, section 3.2. Of
    bpe, merges are dropped with probability alpha: BPE-dropout, Provilkov et al. 2020, arXiv:1910.13267.

    Only what is read is cut anew; targets are of the usual tokens. Rows become longer, `context` tokens at
    most, and as wide as the longest of this process; counters of tokens and FLOPs count the usual ones.
    Separators and padding stay. The tokens are drawn on the CPU, for which a GPU waits.
    tokens_BT -> tokens_BT of another width.
    """

    # a token that was cut would not stand beside its target
    needs = {"task.predicts": ("a sequence", "a label"), "tokenizer.segmentations": ("many",)}

    def __init__(self, alpha: UnitInterval, tokenizer: Any, context: PositiveInt) -> None:
        self.alpha, self.tokenizer, self.context = alpha, tokenizer, context

    def __call__(self, tokens_BT: Tensor, draw: Draw) -> Tensor:
        seeds_B = draw("sampled_segmentation", 1)[:, 0].tolist()
        rows = [self._segment(row, seed) for row, seed in zip(tokens_BT.tolist(), seeds_B, strict=True)]
        cut = [torch.tensor(row[: self.context] or [PADDING]) for row in rows]
        return pad_sequence(cut, batch_first=True, padding_value=PADDING).to(tokens_BT)

    def _segment(self, row: list[int], seed: int) -> list[int]:
        """Other tokens of the stretches of text of a row, but of characters of which it has a part."""
        found: list[int] = []
        real = (token for token in row if token != PADDING)
        for is_word, stretch in groupby(real, lambda token: bool(self.tokenizer.pieces[token])):
            if is_word:
                text = b"".join(self.tokenizer.pieces[token] for token in stretch).decode(errors="ignore")
                found += self.tokenizer.encode_sampled(text, seed + len(found), self.alpha).tolist()
            else:
                found += stretch
        return found
