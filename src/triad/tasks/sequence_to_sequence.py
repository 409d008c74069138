"""Sequence to sequence: read a source, predict its target.

Shapes: B rows here, R rows of the whole batch, S source time, U target time, T = U + 1, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triad.layers.cross_entropy import IGNORED
from triad.layers.ranges import NonNegativeFloat, NonNegativeInt, PositiveInt, UnitInterval
from triad.metrics.sums import compute_metrics, count_rows
from triad.models.generation import decode_greedily
from triad.tasks.likelihood import CrossEntropy, likelihood, perplexity


class SequenceToSequence:
    """Predict the target of a source with an encoder-decoder, by teacher forcing.

        loss = sum_t -log p(y_t | y_<t, x) / (words of the global batch's targets, each with its end)
        Sutskever et al. 2014, arXiv:1409.3215, eq. 1

    `pairs(batch)` makes source_BS and target_BU from a batch; rules such as copy, reverse and sort are in
    triad.tasks.pairs. An additional word of the model, after those of the tokenizer, begins and ends a
    target. At each validation the targets of `generated` batches are decoded greedily, and metrics compare
    their texts.
    """

    needs = {"model.sees": ("source",)}
    predicts = "a sequence"
    lower_is_better = ("loss", "perplexity")
    measures_with = "generated"
    reads = ("source_BS", "tokens_BT", "targets_BT")
    special_tokens = 1
    measure = staticmethod(likelihood)

    def __init__(
        self,
        smoothing: UnitInterval,
        z_loss: NonNegativeFloat,
        pairs: Callable[[dict], tuple[Tensor, Tensor]],
        generated: NonNegativeInt,
        vocab_size: PositiveInt,
        tokenizer: Any,
        metrics: dict[str, Any],
    ) -> None:
        self.loss = CrossEntropy(smoothing, z_loss)
        self.pairs, self.generated, self.vocab_size, self.tokenizer = pairs, generated, vocab_size, tokenizer
        self.metrics = metrics if generated else {}

    def inputs(self, batch: dict, draw: Callable) -> dict:
        """Sources, and targets with begin and end tokens."""
        source_BS, target_BU = self.pairs(batch)
        length_B1 = (target_BU >= 0).sum(-1, keepdim=True)
        found: dict[str, Any] = {"source_BS": source_BS}
        found["tokens_BT"] = F.pad(target_BU, (1, 0), value=self.vocab_size)
        place_T = torch.arange(target_BU.shape[1] + 1, device=target_BU.device)
        ends_BT = (place_T == length_B1) & (length_B1 > 0)  # a row of padding only has no target
        targets_BT = F.pad(target_BU, (0, 1), value=IGNORED).masked_fill(ends_BT, self.vocab_size)
        found["targets_BT"] = targets_BT.where(targets_BT >= 0, IGNORED)
        if "lengths_R" in batch:
            length_R = batch["lengths_R"].clamp_max(target_BU.shape[1])
            found["count"] = (length_R + (length_R > 0)).sum()
            found["lengths"] = length_R + 1, batch.get("source_lengths_R", length_R)
        return found

    def measure_generated(
        self, model: nn.Module, source_BS: Tensor, tokens_BT: Tensor, targets_BT: Tensor
    ) -> dict[str, Tensor]:
        """What the metrics count of the decoded targets."""
        predictions = self.predict(model, source_BS, tokens_BT, targets_BT)
        return count_rows(self.metrics, predictions, [[self.read_text(row)] for row in targets_BT.tolist()])

    def predict(
        self, model: nn.Module, source_BS: Tensor, tokens_BT: Tensor, targets_BT: Tensor
    ) -> list[str | None]:
        """The text of each decoded target, as long as the longest target of the rows at most."""
        words_BT = decode_greedily(model, source_BS, self.vocab_size, targets_BT.shape[1])
        asked_B = (targets_BT != IGNORED).any(-1)
        rows = zip(words_BT.tolist(), asked_B.tolist(), strict=True)
        return [self.read_text(words) if asked else None for words, asked in rows]

    def read_text(self, words: list[int]) -> str:
        """The text of a target, as far as its end."""
        end = words.index(self.vocab_size) if self.vocab_size in words else len(words)
        return self.tokenizer.decode([word for word in words[:end] if word != IGNORED])

    def figures(self, sums: dict[str, Tensor]) -> dict[str, float]:
        return perplexity(sums) | compute_metrics(self.metrics, sums)

    def sample(self, model: nn.Module, row: tuple, length: int, context: int, **_: Any) -> list[list[int]]:
        """The source of the row, and the decoded target, up to `length` words."""
        words = decode_greedily(model, row[0], self.vocab_size, min(length, context))[0].tolist()
        end = words.index(self.vocab_size) if self.vocab_size in words else len(words)
        return [[word for word in row[0][0].tolist() if word >= 0], words[:end]]
