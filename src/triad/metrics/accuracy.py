"""Accuracy: the share of rows whose likeliest label is the right one."""

from collections.abc import Sequence

import numpy as np


class Accuracy:
    """The share of rows whose likeliest label is the right one.

        accuracy = right rows / rows

    Of two labels that are equally likely, the first is the predicted one. Of grades the likeliest counts,
    too.
    """

    needs = {"task.predicts": ("a label", "a grade")}
    higher_is_better = ("accuracy",)
    size = 2

    def count(self, prediction: np.ndarray, references: Sequence[int]) -> tuple[float, float]:
        """Whether the row is right, and the row. `prediction` are probabilities of the labels."""
        return float(np.argmax(prediction) == references[0]), 1.0

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        right, rows = sums
        return {"accuracy": float(right / max(rows, 1))}
