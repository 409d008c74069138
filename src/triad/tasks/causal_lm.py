"""Language modelling: predict each token from those before it."""

import math
from collections.abc import Callable
from itertools import takewhile
from typing import Any

from torch import Tensor, nn

from triad.decoding.decode import decode
from triad.decoding.sampling import Sampling
from triad.layers.ranges import NonNegativeFloat, PositiveInt, UnitInterval
from triad.tasks.likelihood import CrossEntropy, likelihood, perplexity
from triad.tasks.prefixes import find_prompts, make_row

OPENING = 16  # tokens of a text that a sample continues


class CausalLM:
    """Predict the next token.

        loss = sum_i -log p(x_i | x_<i) / (number of targets in the global batch)

    Of pairs the sources are prompts: the loss is that of the targets, each with the separator at its end, and
    of a row that exceeds the context the beginning is left out. `bytes_per_token` turns nats per token into
    bits per byte: bits/byte = nats / (ln 2 * bytes_per_token); of the targets of pairs there are none.
    """

    needs = {"model.sees": ("past", "window"), "data.yields": ("text", "pairs")}
    makes_rows = ("pairs",)
    splits = ("tensor", "context", "pipeline", "documents")
    predicts = "its tokens"
    continues_text = True
    takes_prompts = True
    lower_is_better: tuple[str, ...] = ("loss", "perplexity", "bits_per_byte")
    per_token = ("loss", "perplexity")
    reads = ("tokens_BT", "targets_BT")
    measure = staticmethod(likelihood)

    def __init__(
        self,
        smoothing: UnitInterval,
        z_loss: NonNegativeFloat,
        bytes_per_token: NonNegativeFloat,
        tokenizer: Any,
        context: PositiveInt,
        yields: str = "text",
    ) -> None:
        self.loss = CrossEntropy(smoothing, z_loss)
        self.tokenizer, self.context, self.of_text = tokenizer, context, yields == "text"
        self.longest_prompt, self.longest_answer = context, None
        if not self.of_text:
            self.lower_is_better = ("loss", "perplexity")
        self.nats_to_bits_per_byte = 1 / (math.log(2) * bytes_per_token)

    def encode(self, example: dict) -> list[dict]:
        """A prompt and its completion, which is asked; of a text all, in rows that follow one another."""
        if "text" in example:
            tokens = [*self.tokenizer.encode(example["text"]).tolist(), *self.ends]
            starts = range(0, len(tokens) - 1, self.context)
            return [make_row([(tokens[start : start + self.context + 1], True)]) for start in starts]
        prompt, completion = (self.tokenizer.encode(example[side]).tolist() for side in ("source", "target"))
        row = make_row([(prompt, False), ([*completion, *self.ends], True)])
        cut = max(len(row["tokens_BT"]) - self.context, 0)
        return [{name: ids[cut:] for name, ids in row.items()} | {"cut": cut}]

    @property
    def ends(self) -> list[int]:
        """The tokens that end a text."""
        return [] if self.tokenizer.separator is None else [self.tokenizer.separator]

    def make_prompt(self, text: str) -> tuple[list[int], None]:
        """The tokens that are continued, of an empty text the separator; no source."""
        tokens = self.tokenizer.encode(text).tolist() or self.ends
        if not tokens:
            raise ValueError('prompt="": this vocabulary has no separator to start from; give a prompt')
        return tokens, None

    def inputs(self, batch: dict, draw: Callable) -> dict:
        """The batch as it is: each token and the next."""
        return batch

    def figures(self, sums: dict[str, Tensor]) -> dict[str, float]:
        found = perplexity(sums)
        return found | self.code_length(found["loss"])

    def code_length(self, nats: float) -> dict[str, float]:
        """Bits per byte: comparable between vocabularies, and with a compressor."""
        return {"bits_per_byte": nats * self.nats_to_bits_per_byte} if self.of_text else {}

    def sample(
        self,
        model: nn.Module,
        row: tuple,
        length: int,
        prompt: list[int] | None,
        context: int,
        temperature: float,
        vocab_size: int,
    ) -> list[list[int]]:
        """A continuation of the prompt, or of the row's own."""
        prompt = prompt or self._find_prompt(row)
        drawn = decode(
            model,
            [prompt[-context:]],
            Sampling(temperature, top_k=50, top_p=1.0, min_p=0.0, repetition_penalty=1.0),
            ends=(),
            max_tokens=length,
            context=context,
            vocab_size=vocab_size,
            lockstep=True,
        )
        return [[*prompt, *drawn[0][0].tokens]]

    def _find_prompt(self, row: tuple) -> list[int]:
        """The source of a row, or the beginning of its text."""
        tokens_1T, *_, targets_1T = row
        if not self.of_text:
            return find_prompts(tokens_1T, targets_1T, end=(self.ends or [0])[0])[0]
        first, *others = tokens_1T[0, :OPENING].tolist()
        return [first, *takewhile(lambda token: token >= 0 and token not in self.ends, others)]
