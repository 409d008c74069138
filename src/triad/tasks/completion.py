"""Completion: predict some parts of a row from all that stands before them.

Shapes: B rows, T time.
"""

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn

from triad.layers.cross_entropy import IGNORED
from triad.layers.ranges import NonNegativeFloat, NonNegativeInt, PositiveInt, UnitInterval
from triad.metrics.sums import compute_metrics, count_rows
from triad.tasks.likelihood import CrossEntropy, likelihood, perplexity
from triad.tasks.prefixes import continue_rows, find_prompts, read_answers


class Completion:
    """Predict the answers of a dialogue or the completion of a program, not what they follow.

        loss = sum_{i asked} -log p(x_i | x_<i) / (tokens asked in the global batch)
        Ouyang et al. 2022, arXiv:2203.02155, section 3.5; Wei et al. 2021, arXiv:2109.01652

    `rows(tokenizer=, context=, longest=)` makes rows of examples: triad.tasks.dialogue, triad.tasks.code. Its
    `end` is a word of the model, behind the tokenizer's, that ends what is asked; `longest` tokens of it are
    kept, half of the context by default. At each validation the last answers of `generated` batches are
    decoded, and metrics compare their texts with the data's. With `samples` each prediction is so many texts.
    """

    needs = {"model.sees": ("past",)}
    splits = ("tensor", "pipeline")
    predicts = "a sequence"
    lower_is_better = ("loss", "perplexity")
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
        samples: PositiveInt | None = None,
        predicts: Literal["a sequence", "a program"] = "a sequence",
    ) -> None:
        if generated and predicts == "a program":
            raise ValueError(
                f"task.generated={generated}: programs are run by their tests in `triad evaluate`, not while "
                "training: use task.generated=0"
            )
        self.loss = CrossEntropy(smoothing, z_loss)
        self.longest = target_tokens or context // 2
        if not 0 < self.longest < context:
            raise ValueError(
                f"task.target_tokens={target_tokens}: context={context} has to hold a prompt, too: lower it, or "
                "raise context"
            )
        self.rows = rows(tokenizer=tokenizer, context=context, longest=self.longest)
        self.special_tokens = self.rows.special_tokens
        self.generated, self.samples, self.predicts = generated, samples, predicts
        self.tokenizer, self.context, self.decoding = tokenizer, context, decoding
        self.metrics = metrics if generated else {}

    def encode(self, example: dict) -> list[dict]:
        """The rows of an example."""
        return self.rows.encode(example)

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
        asked = {"max_tokens": self.longest + 1, "context": self.context, "lockstep": lockstep}
        asked |= {"n": self.samples or 1}
        found = continue_rows(model, self.decoding, tokens_BT, targets_BT, self.rows.end, **asked)
        texts = [[self.rows.trim(self._read_text(words)) for words in best] for best in found]
        asked_B = (targets_BT != IGNORED).any(-1).tolist()
        made = [each if self.samples else each[0] for each in texts]
        return [each if is_asked else None for each, is_asked in zip(made, asked_B, strict=True)]

    def _read_text(self, words: list[int]) -> str:
        return self.tokenizer.decode([word for word in words if word < self.tokenizer.vocab_size])

    def figures(self, sums: dict[str, Tensor]) -> dict[str, float]:
        return perplexity(sums) | compute_metrics(self.metrics, sums)

    def sample(self, model: nn.Module, row: tuple, length: int, **_: Any) -> list[str]:
        """The end of the row's prompt, and what is decoded behind it, up to `length` words of each."""
        asked = {"max_tokens": min(length, self.longest + 1), "context": self.context, "lockstep": True}
        ((best,),) = continue_rows(model, self.decoding, *row, self.rows.end, **asked)
        return [self._read_text(find_prompts(*row)[0][-length:]), self._read_text(best)]
