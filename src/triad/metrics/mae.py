"""Mean absolute error of grades."""

from collections.abc import Sequence

import numpy as np

from triad.metrics.grades import predict_grade


class MAE:
    """The mean distance of the predicted grade from the true one, in grades.

    MAE = 1/n sum_i |predicted_i - true_i|
    """

    needs = {"task.predicts": ("a grade",)}
    lower_is_better = ("mae",)
    size = 2

    def count(self, prediction: np.ndarray, references: Sequence[int]) -> tuple[float, float]:
        """The distance of the row, and the row. `prediction` are probabilities of the grades."""
        return float(abs(predict_grade(prediction) - references[0])), 1.0

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        distance, rows = sums
        return {"mae": float(distance / max(rows, 1))}
