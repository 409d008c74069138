"""Sequence to sequence: read a source, predict its target.

Shapes: B rows here, R rows of the whole batch, S source time, U target time, T = U + 1, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triad.decoding.decode import decode
from triad.decoding.greedy import Greedy
from triad.layers.cross_entropy import IGNORED
from triad.layers.ranges import NonNegativeFloat, NonNegativeInt, PositiveInt, UnitInterval
from triad.tasks.likelihood import CrossEntropy, likelihood, perplexity


class SequenceToSequence:
    """Predict the target of a source with an encoder-decoder, by teacher forcing.

        loss = sum_t -log p(y_t | y_<t, x) / (words of the global batch's targets, each with its end)
        Sutskever et al. 2014, arXiv:1409.3215, eq. 1

    `pairs(batch)` makes source_BS and target_BU from a batch; rules such as copy, reverse and sort are in
    triad.tasks.pairs. An additional word of the model, after those of the tokenizer, begins and ends a
    target. At each validation the targets of `generated` batches are decoded greedily; val/exact_match is the
    share without an error.
    """

    needs = {"model.sees": ("source",)}
    predicts = "a sequence"
    lower_is_better = ("loss", "perplexity")
    higher_is_better: tuple[str, ...] = ("exact_match",)
    measured_with = {"exact_match": "generated"}
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
    ) -> None:
        self.loss = CrossEntropy(smoothing, z_loss)
        self.pairs, self.generated, self.vocab_size = pairs, generated, vocab_size
        if not generated:
            self.higher_is_better = ()

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
        """The number of targets decoded without an error, and the number of targets."""
        decoded = self._decode(model, source_BS, targets_BT.shape[1])
        asked = [[word for word in row if word != IGNORED] for row in targets_BT.tolist()]
        right = [words[: len(row)] == row for words, row in zip(decoded, asked, strict=True) if row]
        return {"right": targets_BT.new_tensor(sum(right)), "generated": targets_BT.new_tensor(len(right))}

    def _decode(self, model: nn.Module, source_BS: Tensor, length: int) -> list[list[int]]:
        """The target of each source, with its end if that is among the first `length` words."""
        found = decode(
            model,
            [[self.vocab_size]] * len(source_BS),
            Greedy(),
            ends=[self.vocab_size],
            max_tokens=length,
            context=length,
            vocab_size=self.vocab_size + 1,
            sources=[[word for word in row if word >= 0] for row in source_BS.tolist()],
            lockstep=True,
        )
        return [[*best.tokens, *[self.vocab_size] * best.finished] for best, *_ in found]

    def figures(self, sums: dict[str, Tensor]) -> dict[str, float]:
        found = perplexity(sums)
        if "generated" in sums:
            found["exact_match"] = float(sums["right"]) / max(float(sums["generated"]), 1)
        return found

    def sample(self, model: nn.Module, row: tuple, length: int, context: int, **_: Any) -> list[list[int]]:
        """The source of the row, and the decoded target, up to `length` words."""
        lines = row[0][0].tolist(), self._decode(model, row[0], min(length, context))[0]
        return [[word for word in line if 0 <= word < self.vocab_size] for line in lines]
