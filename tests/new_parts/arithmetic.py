"""A task that makes rows of examples of a new kind."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from triad.layers.cross_entropy import IGNORED
from triad.tasks.likelihood import CrossEntropy, likelihood, mean_loss


class Arithmetic:
    """Continue an addition by its result, which alone is asked for."""

    needs = {"model.sees": ("past",), "data.yields": ("equations",)}
    lower_is_better = ("loss",)
    reads = ("tokens_BT", "targets_BT")
    measure = staticmethod(likelihood)

    def __init__(self, tokenizer: Any, context: int) -> None:
        self.loss, self.tokenizer, self.context = CrossEntropy(0.0, 0.0), tokenizer, context

    def encode(self, example: dict[str, str]) -> list[dict[str, list[int]]]:
        """One row, or none where it does not fit."""
        question, result = (self.tokenizer.encode(example[part]).tolist() for part in ("question", "result"))
        tokens, targets = [*question, *result], [IGNORED] * len(question) + result
        return [{"tokens_BT": tokens[:-1], "targets_BT": targets[1:]}] if len(tokens) <= self.context else []

    def inputs(self, batch: dict, draw: Callable) -> dict:
        return batch

    def figures(self, sums: dict[str, Tensor]) -> dict[str, float]:
        return {"loss": mean_loss(sums)}
