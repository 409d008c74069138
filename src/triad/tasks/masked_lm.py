"""Masked language modelling: predict hidden words from the words around them.

Shapes: B rows (sequences) here, R rows of the whole batch, T time, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from triad.layers.cross_entropy import IGNORED
from triad.layers.full_attention import PADDING
from triad.layers.ranges import NonNegativeFloat, PositiveInt, UnitInterval
from triad.layers.splitmix64 import LARGEST, to_fraction
from triad.tasks.likelihood import CrossEntropy, likelihood, perplexity


class MaskedLM:
    """Predict hidden tokens with an encoder.

        loss = sum_{i hidden} -log p(x_i | x with some tokens replaced) / (hidden tokens of the global batch)
        Devlin et al. 2018 (BERT), arXiv:1810.04805, section 3.1; other tokens at each reading: Liu et al.
        2019 (RoBERTa), arXiv:1907.11692, section 4.1

    A `share` of each row's tokens, at least one, is chosen; of these the fraction `masked` is replaced by the
    mask, `random` by a random word, and the others are kept. The choice is a pure function of (seed, step,
    row), in validation of the row only. The mask is an additional word of the model, after those of the
    tokenizer. After the end of a row there is padding, which no token sees.

    With `whole_words` the tokens of a word are chosen together, as in the whole word masking of BERT's
    published code. The last word of a row may be chosen in part: rows of a length have as many hidden tokens.
    """

    needs = {"model.sees": ("both sides",), "model.pooler": (None,), "data.yields": ("text",)}
    splits = ("documents",)
    predicts = "its tokens"
    lower_is_better = ("loss", "perplexity")
    per_token = ("loss", "perplexity")
    reads = ("tokens_BT", "targets_BT")
    special_tokens = 1
    measure, figures = staticmethod(likelihood), staticmethod(perplexity)

    def __init__(
        self,
        smoothing: UnitInterval,
        z_loss: NonNegativeFloat,
        share: UnitInterval,
        masked: UnitInterval,
        random: UnitInterval,
        whole_words: bool,
        vocab_size: PositiveInt,
        tokenizer: Any,
    ) -> None:
        if not (0 < share <= 1 and min(masked, random) >= 0 and masked + random <= 1):
            raise ValueError(f"task.share={share} masked={masked} random={random}: fractions of one whole")
        self.loss = CrossEntropy(smoothing, z_loss)
        self.share, self.masked, self.random, self.vocab_size = share, masked, random, vocab_size
        self.words = Words(tokenizer) if whole_words else None

    def inputs(self, batch: dict, draw: Callable) -> dict:
        """Hide some tokens; the targets are the original ones."""
        real_BT = batch["targets_BT"] != IGNORED
        tokens_BT = batch["tokens_BT"].where(real_BT, PADDING)
        found: dict[str, Any] = {}
        if "lengths_R" in batch:
            found["count"] = count_hidden(batch["lengths_R"], self.share).sum()
        place_BT, kind_BT, word_BT = (
            draw(purpose, tokens_BT.shape[1]) for purpose in ("place", "kind", "word")
        )
        if self.words is not None:
            place_BT = place_BT.gather(1, self.words.find_starts(tokens_BT))
        rank_BT = place_BT.where(real_BT, LARGEST).argsort(stable=True, dim=-1).argsort(dim=-1)
        chosen_BT = real_BT & (rank_BT < count_hidden(real_BT.sum(-1), self.share)[:, None])
        found["targets_BT"] = tokens_BT.where(chosen_BT, IGNORED)
        found["tokens_BT"] = self._replace(tokens_BT, chosen_BT, to_fraction(kind_BT), word_BT)
        return found

    def _replace(self, tokens_BT: Tensor, chosen_BT: Tensor, kind_BT: Tensor, word_BT: Tensor) -> Tensor:
        masked_BT = chosen_BT & (kind_BT < self.masked)
        random_BT = chosen_BT & ~masked_BT & (kind_BT < self.masked + self.random)
        return (word_BT % self.vocab_size).where(random_BT, tokens_BT.masked_fill(masked_BT, self.vocab_size))

    def sample(self, model: nn.Module, row: tuple, length: int, **_: Any) -> list[list[int]]:
        """The beginning of the row, with predictions in place of hidden words."""
        tokens_1T, *starts, targets_1T = row
        logits_1TV, _ = model(tokens_1T, *starts)
        guess_1T = logits_1TV[..., : self.vocab_size].argmax(-1)
        words_1T = guess_1T.where(targets_1T != IGNORED, tokens_1T)
        return [[word for word in words_1T[0].tolist() if word >= 0][:length]]


class Words:
    """Which tokens are a word, by a tokenizer that tells where words begin.

    Raises ValueError for one that does not, because it has no token with a blank.
    """

    def __init__(self, tokenizer: Any) -> None:
        special = tokenizer.byte_lengths == 0
        if not (tokenizer.begins_word & ~special).any():
            raise ValueError(
                f"task.whole_words=true: tokenizer={tokenizer.kind} does not tell where words begin, as no "
                "token has a blank; use task.whole_words=false"
            )
        self.begins_V, self.special_V = torch.from_numpy(tokenizer.begins_word), torch.from_numpy(special)

    def find_starts(self, tokens_BT: Tensor) -> Tensor:
        """The place of the first token of each token's word; a special token is a word, as is padding."""
        index_BT, device = tokens_BT.clamp_min(0), tokens_BT.device
        begins_BT = self.begins_V.to(device)[index_BT] | (tokens_BT < 0)
        begins_BT[:, 1:] |= self.special_V.to(device)[index_BT[:, :-1]]
        begins_BT[:, 0] = True
        place_BT = torch.arange(tokens_BT.shape[1], device=device).where(begins_BT, 0)
        return place_BT.cummax(-1).values


def count_hidden(lengths_R: Tensor, share: float) -> Tensor:
    """How many tokens are chosen of rows of these lengths: the share, rounded, at least 1 of a row."""
    return (lengths_R * share).round().long().clamp_min(1).minimum(lengths_R)
