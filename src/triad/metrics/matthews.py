"""Matthews correlation coefficient of labels. Shapes: C classes."""

import math
from collections.abc import Sequence

import numpy as np

from triad.metrics.class_counts import ClassCounts


class Matthews:
    """The correlation of predicted and true labels, -1 to 1; of several classes, Gorodkin's R_K (2004).

        R_K = (n right - sum_k p_k t_k) / sqrt((n^2 - sum_k p_k^2) (n^2 - sum_k t_k^2))

    n rows, p_k of them predicted as k and t_k with the reference k. Where all rows are predicted alike, or
    all references are alike, the covariance is 0 and so is the figure (torchmetrics gives 0.577 for two
    classes).
    """

    needs = {"task.predicts": ("a label", "a grade")}
    higher_is_better = ("matthews",)

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.counts = ClassCounts(labels, None)
        self.size = self.counts.size

    def count(self, prediction: np.ndarray, references: Sequence[int]) -> np.ndarray:
        return self.counts.count(prediction, references)

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        right_C, predicted_C, gold_C = self.counts.read(sums)
        rows = gold_C.sum()
        covariance = rows * right_C.sum() - predicted_C @ gold_C
        variances = (rows**2 - predicted_C @ predicted_C) * (rows**2 - gold_C @ gold_C)
        return {"matthews": float(covariance / math.sqrt(variances)) if variances else 0.0}
