"""Cohen's kappa of grades, with quadratic weights. Shapes: C grades."""

from collections.abc import Sequence

import numpy as np

from triad.metrics.grades import predict_grade


class QuadraticKappa:
    """Agreement of predicted and true grades beyond chance (Cohen 1968), at most 1.

        kappa = 1 - sum_i (predicted_i - true_i)^2 / n  /  (sum_jk (j - k)^2 p_j t_k / n^2)

    p_j rows are predicted as grade j and t_k have the grade k. The grades are those that are declared, also
    those that no row has. Where one grade is all that is predicted and true, chance agrees as well: 0.
    """

    needs = {"task.predicts": ("a grade",)}
    higher_is_better = ("quadratic_kappa",)

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.grades_C = np.arange(len(labels))
        self.size = 1 + 2 * len(labels)

    def count(self, prediction: np.ndarray, references: Sequence[int]) -> np.ndarray:
        """The squared distance of the row, its predicted grade and its true one."""
        guess, gold = predict_grade(prediction), references[0]
        one_hot = self.grades_C == guess, self.grades_C == gold
        return np.concatenate(([(guess - gold) ** 2], *one_hot)).astype(float)

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        predicted_C, gold_C = sums[1:].reshape(2, -1)
        distances_CC = (self.grades_C[:, None] - self.grades_C) ** 2
        by_chance = predicted_C @ distances_CC @ gold_C / max(gold_C.sum(), 1)
        return {"quadratic_kappa": float(1 - sums[0] / by_chance) if by_chance else 0.0}
