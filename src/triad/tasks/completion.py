"""Completion: predict some parts of a row from all that stands before them.

Shapes: B rows, T time.
"""

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn

from triad.decoding.decode import decode
from triad.layers.cross_entropy import IGNORED
from triad.layers.ranges import NonNegativeFloat, NonNegativeInt, PositiveInt, UnitInterval
from triad.metrics.sums import compute_metrics, count_rows
from triad.tasks.likelihood import CrossEntropy, likelihood, perplexity
from triad.tasks.prefixes import find_prompts, read_answers


class Completion:
    """Predict the answers of a dialogue or the completion of a program, not what they follow.

        loss = sum_{i asked} -log p(x_i | x_<i) / (tokens asked in the global batch)
        Ouyang et al. 2022, arXiv:2203.02155, section 3.5; Wei et al. 2021, arXiv:2109.01652

    `rows(tokenizer=, context=, longest=)` makes rows of examples: triad.tasks.dialogue, triad.tasks.code. Its
    `end` is a word of the model, behind the tokenizer's, that ends what is asked, and `longest` is how many
    tokens of that are kept: `target_tokens`, or half of the context if that is less. At each validation the
    last answers of `generated` batches are decoded, and metrics compare their texts with the data's. With
    `samples` each prediction is so many texts.
    """

    needs = {"model.sees": ("past",)}
    predicts = "a sequence"
    takes_prompts = True
    lower_is_better = ("loss", "perplexity")
    per_token = ("loss", "perplexity")
    measures_with = "generated"
    reads = ("tokens_BT", "targets_BT")
    makes_rows = ("text",)  # of other kinds than text, pairs and labels every task does
    measure = staticmethod(likelihood)

    def __init__(
        self,
        smoothing: UnitInterval,
        z_loss: NonNegativeFloat,
        rows: Callable,
        generated: NonNegativeInt,
        target_tokens: PositiveInt | None,
        tokenizer: Any,
        context: PositiveInt,
        decoding: Any,
        metrics: dict[str, Any],
        samples: PositiveInt | None,
        predicts: Literal["a sequence", "a program"],
    ) -> None:
        self.loss = CrossEntropy(smoothing, z_loss)
        self.longest = min(target_tokens or context, context // 2)
        if not self.longest:
            raise ValueError(f"context={context} holds no prompt and what follows it: raise it")
        self.rows = rows(tokenizer=tokenizer, context=context, longest=self.longest)
        self.special_tokens = self.rows.special_tokens
        self.longest_prompt, self.longest_answer = context - self.longest, self.longest + 1
        self.ends = [self.rows.end]
        self.generated, self.samples, self.predicts = generated, samples, predicts
        self.tokenizer, self.context, self.decoding = tokenizer, context, decoding
        self.metrics = metrics if generated else {}

    def encode(self, example: dict) -> list[dict]:
        """The rows of an example."""
        return self.rows.encode(example)

    def make_prompt(self, text: str) -> tuple[list[int], None]:
        """The tokens before the answer to a text, a program's beginning or what is said; no source."""
        rows = self.encode(self.rows.make_example(text))
        if not rows or rows[0]["cut"]:
            raise ValueError(f"it does not fit into the {self.longest_prompt} tokens of a prompt; shorten it")
        return rows[0]["tokens_BT"], None

    def references(self, example: dict) -> list:
        """What a prediction is compared with."""
        return self.rows.references(example)

    def inputs(self, batch: dict, draw: Callable) -> dict:
        """The rows as they are."""
        return batch

    def measure_generated(
        self, model: nn.Module, tokens_BT: Tensor, targets_BT: Tensor, lockstep: bool
    ) -> dict[str, Tensor]:
        """What the metrics count of the decoded answers."""
        references = [[self._read_text(words)] for words in read_answers(targets_BT)]
        predictions = self.predict(model, tokens_BT, targets_BT, lockstep=lockstep)
        return count_rows(self.metrics, predictions, references)

    def predict(
        self, model: nn.Module, tokens_BT: Tensor, targets_BT: Tensor, lockstep: bool = False
    ) -> list[Any]:
        """The text decoded in the place of each row's last answer; with `samples` a list of them."""
        found = self._decode(
            model, tokens_BT, targets_BT, max_tokens=self.longest + 1, lockstep=lockstep, n=self.samples or 1
        )
        texts = [[self.rows.trim(self._read_text(words)) for words in best] for best in found]
        asked_B = (targets_BT != IGNORED).any(-1).tolist()
        made = [each if self.samples else each[0] for each in texts]
        return [each if is_asked else None for each, is_asked in zip(made, asked_B, strict=True)]

    def _decode(self, model: nn.Module, *row: Tensor, **asked: Any) -> list[list[list[int]]]:
        """What follows the prompt of each row; something for a row of padding, as processes work in step."""
        end = self.rows.end
        asked |= {"ends": [end], "vocab_size": end + 1, "context": self.context}
        found = decode(model, find_prompts(*row, end), self.decoding, **asked)
        return [[best.tokens for best in hypotheses] for hypotheses in found]

    def _read_text(self, words: list[int]) -> str:
        return self.tokenizer.decode([word for word in words if word < self.tokenizer.vocab_size])

    def figures(self, sums: dict[str, Tensor]) -> dict[str, float]:
        return perplexity(sums) | compute_metrics(self.metrics, sums)

    def sample(self, model: nn.Module, row: tuple, length: int, **_: Any) -> list[str]:
        """The end of the row's prompt, and what is decoded behind it, up to `length` words of each."""
        ((best,),) = self._decode(model, *row, max_tokens=min(length, self.longest + 1), lockstep=True)
        prompt = find_prompts(*row, self.rows.end)[0]
        return [self._read_text(prompt[-length:]), self._read_text(best)]
