"""Sequence to sequence: read a source, predict its target.

Shapes: B rows here, R rows of the whole batch, S source time, U target time, T = U + 1, L = S + T.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triad.decoding.decode import decode
from triad.layers.cross_entropy import IGNORED
from triad.layers.full_attention import PADDING
from triad.layers.ranges import NonNegativeFloat, NonNegativeInt, PositiveInt, UnitInterval
from triad.metrics.sums import compute_metrics, count_rows
from triad.tasks.likelihood import CrossEntropy, likelihood, perplexity
from triad.tasks.prefixes import find_prompts, join, read_answers


class SequenceToSequence:
    """Predict the target of a source, by teacher forcing.

        loss = sum_t -log p(y_t | y_<t, x) / (words of the global batch's targets, each with its end)
        Sutskever et al. 2014, arXiv:1409.3215, eq. 1

    `pairs` makes source and target, by a rule of triad.tasks.pairs. An additional word of the model, after
    those of the tokenizer, begins and ends a target; a rule whose sources have several texts has another one,
    which divides them. An encoder-decoder reads the source with its encoder. A model of the past reads it as
    prefix, in one row: source, the word, target, the word (Liu et al. 2018, arXiv:1801.10198, section 4.2.3,
    without a loss on the source).

    A target keeps its first `target_tokens`, fewer where the context, in a row with the source half of it,
    holds no more; the source keeps the first tokens of the room that is left, whatever the length of its own
    target. At each validation `generated` batches are decoded, and metrics compare their texts with the
    targets'. Raises ValueError for a context that holds no source and target.
    """

    needs = {"model.sees": ("source", "past")}
    predicts = "a sequence"
    lower_is_better = ("loss", "perplexity")
    per_token = ("loss", "perplexity")
    takes_prompts = True  # which `triad generate` has its model answer
    measures_with = "generated"
    measure = staticmethod(likelihood)

    def __init__(
        self,
        smoothing: UnitInterval,
        z_loss: NonNegativeFloat,
        pairs: Callable,
        generated: NonNegativeInt,
        target_tokens: PositiveInt | None,
        vocab_size: PositiveInt,
        tokenizer: Any,
        context: PositiveInt,
        model_sees: str,
        decoding: Any,
        metrics: dict[str, Any],
        predicts: Literal["a sequence", "an answer"],
    ) -> None:
        self.loss = CrossEntropy(smoothing, z_loss)
        self.pairs, self.generated, self.predicts = pairs, generated, predicts
        self.vocab_size, self.tokenizer, self.decoding = vocab_size, tokenizer, decoding
        self.metrics = metrics if generated else {}
        self.special_tokens = 1 + getattr(getattr(pairs, "func", pairs), "dividers", 0)
        self.context, self.joined = context, model_sees == "past"
        self.reads = ("tokens_BT", "targets_BT") if self.joined else ("source_BS", "tokens_BT", "targets_BT")
        room = context - 1  # beside the word that begins a target
        target = min(target_tokens or room, room // 2 if self.joined else room)
        self.longest = (room - target if self.joined else room), target  # a source and a target
        self.longest_prompt = self.longest[0] + self.joined  # with the word that begins a target
        self.longest_answer = target + 1
        self.ends = [vocab_size]
        if min(self.longest) < 1:
            raise ValueError(f"context={context} holds no source and target with their ends: raise it")

    def encode(self, example: dict) -> list[dict]:
        """Source and target of an example, as much as fits; no row of one whose source is empty."""
        if "text" in example:
            source, target, cut = self._encode_text(example["text"])
        else:
            sides = self.pairs(example)
            whole = self._encode_source(sides.source), self.tokenizer.encode(sides.target).tolist()
            source, target = whole[0][: self.longest[0]], whole[1][: self.longest[1]]
            cut = sum(map(len, whole)) - len(source) - len(target)
        return [{"source_BS": source, "target_BU": target, "cut": cut}] if source else []

    def _encode_text(self, text: str) -> tuple[list[int], list[int], int]:
        ids = self.tokenizer.encode(text)
        kept = ids[: min(self.longest)]
        row_1T = torch.tensor([[*kept.tolist(), 0]])  # a rule leaves out the last token
        sides = [side[0].tolist() for side in self.pairs({"tokens_BT": row_1T, "targets_BT": row_1T})]
        return sides[0], sides[1], len(ids) - len(kept)

    def _encode_source(self, texts: list[str]) -> list[int]:
        first, *others = (self.tokenizer.encode(text).tolist() for text in texts)
        return first + [token for ids in others for token in (self.vocab_size + 1, *ids)]

    def make_prompt(self, text: str) -> tuple[list[int], list[int] | None]:
        """What a model continues to answer a source, and that source, where it reads it with its encoder."""
        source = self._encode_source([text])
        if not source:
            raise ValueError('prompt="": an empty source has no answer; give a text')
        return ([*source, *self.ends], None) if self.joined else (self.ends, source)

    @property
    def contents(self) -> str | None:
        """A hash of what rows follow from beside examples, arguments and code."""
        return getattr(self.pairs, "contents", None)

    def references(self, example: dict) -> list[str]:
        """The targets that a prediction is compared with."""
        if "text" in example:
            return [self.tokenizer.decode(self._encode_text(example["text"])[1])]
        return self.pairs(example).references

    def inputs(self, batch: dict, draw: Callable) -> dict:
        """Sources, and targets with begin and end tokens; of a model of the past in one row."""
        source_BS, target_BU = self._make_pairs(batch)
        length_B1 = (target_BU >= 0).sum(-1, keepdim=True)
        is_real_B1 = (source_BS >= 0).any(-1, keepdim=True)  # a row of padding only has no target
        tokens_BT = F.pad(target_BU, (1, 0), value=self.vocab_size)
        place_T = torch.arange(target_BU.shape[1] + 1, device=target_BU.device)
        ends_BT = (place_T == length_B1) & is_real_B1
        targets_BT = F.pad(target_BU, (0, 1), value=IGNORED).masked_fill(ends_BT, self.vocab_size)
        targets_BT = targets_BT.where(targets_BT >= 0, IGNORED)
        found: dict[str, Any] = {"source_BS": source_BS, "tokens_BT": tokens_BT, "targets_BT": targets_BT}
        if self.joined:
            found["tokens_BT"], found["targets_BT"] = join(source_BS, tokens_BT, targets_BT)
        if "lengths_R" in batch:
            length_R = batch["lengths_R"].clamp_max(target_BU.shape[1])
            source_R = batch.get("source_lengths_R", length_R).clamp_max(source_BS.shape[1])
            found["count"] = (length_R + (source_R > 0)).sum()
            lengths = length_R + 1, source_R
            found["lengths"] = (sum(lengths),) if self.joined else lengths
            if self.joined:  # the longest row of all processes may be shorter than both sides together
                width = int(found["lengths"][0].max())
                found |= {name: found[name][:, :width] for name in self.reads}
        return found

    def _make_pairs(self, batch: dict) -> tuple[Tensor, Tensor]:
        """What the rows of a batch have, or a rule makes of their tokens, as much as fits."""
        if "source_BS" in batch:
            return batch["source_BS"][:, : self.longest[0]], batch["target_BU"][:, : self.longest[1]]
        longest = min(self.longest) + 1
        return self.pairs({name: batch[name][:, :longest] for name in ("tokens_BT", "targets_BT")})

    def measure_generated(self, model: nn.Module, *inputs: Tensor, lockstep: bool) -> dict[str, Tensor]:
        """What the metrics count of the decoded targets."""
        texts = map(self._read_text, read_answers(inputs[-1]))
        answered = [[text] if text or self.predicts != "an answer" else [] for text in texts]
        return count_rows(self.metrics, self.predict(model, *inputs, lockstep=lockstep), answered)

    def predict(self, model: nn.Module, *inputs: Tensor, lockstep: bool = False) -> list[str | None]:
        """The text decoded for each source."""
        found = self._decode(model, *inputs, max_tokens=self.longest[1] + 1, lockstep=lockstep)
        asked_B = (inputs[-1] != IGNORED).any(-1).tolist()
        return [self._read_text(best) if asked else None for best, asked in zip(found, asked_B, strict=True)]

    def _decode(self, model: nn.Module, *inputs: Tensor, **asked: Any) -> list[list[int]]:
        """The best target of each row; something for a row of padding, since processes work in step."""
        end = self.vocab_size
        asked |= {"ends": [end], "vocab_size": end + 1, "context": self.context}
        if self.joined:
            found = decode(model, find_prompts(*inputs, end), self.decoding, **asked)
        else:
            sources = [read_row(row) or [end] for row in inputs[0].tolist()]
            found = decode(model, [[end]] * len(sources), self.decoding, sources=sources, **asked)
        return [best.tokens for best, *_ in found]

    def _read_text(self, words: list[int]) -> str:
        return self.tokenizer.decode([word for word in words if word < self.vocab_size])

    def figures(self, sums: dict[str, Tensor]) -> dict[str, float]:
        return perplexity(sums) | compute_metrics(self.metrics, sums)

    def sample(self, model: nn.Module, row: tuple, length: int, **_: Any) -> list[list[int]]:
        """The source of the row, and the decoded target, up to `length` words."""
        most = min(length, self.longest[1] + 1)
        (best,) = self._decode(model, *row, max_tokens=most, lockstep=True)
        source = find_prompts(*row, self.vocab_size)[0] if self.joined else read_row(row[0][0].tolist())
        return [[word for word in words if word < self.vocab_size] for words in (source, best)]


def read_row(row: list[int]) -> list[int]:
    """The tokens before the padding."""
    return [token for token in row if token != PADDING]
