"""Ordinal regression: predict one of several ordered grades. Shapes: B rows, K grades."""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from triad.layers.coral import CoralHead, coral_sum, find_probabilities, sum_loss
from triad.layers.cross_entropy import IGNORED
from triad.layers.ranges import UnitInterval
from triad.models.classifier import Classifier
from triad.tasks.classification import Classification


class Ordinal(Classification):
    """Predict the grade of a document, such as how intense an emotion is.

        loss = sum_rows sum_k -log P(whether y > r_k | x) / (number of rows in the global batch)
        Cao, Mirjalili and Raschka 2019 (CORAL), arXiv:1901.07884, eq. 4; the head is triad.layers.coral's

    Labels are numbers, and their order is that of the numbers. Metrics read the probabilities of the grades,
    of which the paper's predicted grade is the median. Otherwise as Classification. Raises ValueError for
    labels that are no numbers, or two of which are the same.
    """

    predicts = "a grade"

    def __init__(
        self,
        pool: Callable | None,
        dropout: UnitInterval,
        labels: tuple[str, ...],
        tokenizer: Any,
        context: int,
        model_sees: str,
        metrics: dict[str, Any],
    ) -> None:
        run = labels, tokenizer, context, model_sees, metrics
        super().__init__(0.0, 0.0, pool, dropout, *run)
        self.loss = _make_loss
        self.classes = self.grades = sorted(labels, key=_read_number)
        for low, high in pairwise(self.grades):
            if _read_number(low) == _read_number(high):
                raise ValueError(f"labels {low!r} and {high!r} are one number: spell it in one way")
        self.grade_of_label = torch.tensor([self.grades.index(label) for label in labels])

    def wrap(self, model: nn.Module) -> nn.Module:
        grades = len(self.labels)
        return Classifier(model, grades, self.pool, self.dropout, CoralHead, self.separator)

    def inputs(self, batch: dict, draw: Callable) -> dict:
        """Labels as the data counts them become places in the order of the numbers."""
        labels_B = batch["labels_B"]
        grades_B = self.grade_of_label.to(labels_B.device)[labels_B.clamp_min(0)]
        return super().inputs(batch, draw) | {"labels_B": grades_B.where(labels_B != IGNORED, IGNORED)}

    def references(self, example: dict[str, Any]) -> list[int]:
        """The place of the grade."""
        return [int(self.grade_of_label[self._find_label(example)])]

    def sum_nll(self, logits_BK: Tensor, grades_B: Tensor) -> Tensor:
        return sum_loss(logits_BK, grades_B)

    def find_probabilities(self, logits_BK: Tensor) -> Tensor:
        return find_probabilities(logits_BK)

    def sample(
        self, model: nn.Module, row: tuple, length: int, vocab_size: int, **_: Any
    ) -> list[list[int] | str]:
        tokens_1T, grade_1 = row
        guess = self.grades[int((model(tokens_1T)[0] > 0).sum())]
        words = [word for word in tokens_1T[0].tolist() if 0 <= word < vocab_size]
        return [f"guess {guess}, grade {self.grades[int(grade_1)]}:", words[:length]]


def _make_loss(targets: Tensor, training: bool) -> Callable:
    return partial(coral_sum, grades_B=targets)


def _read_number(label: str) -> float:
    try:
        number = float(label)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(
            f"label {label!r}: task=ordinal orders labels as numbers; give numbers, or use "
            "task=classification"
        )
    return number
