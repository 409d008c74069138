"""Expected calibration error of the likeliest label. Shapes: M bins."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np


class ECE:
    """Expected calibration error (Guo et al. 2017, arXiv:1706.04599, eq. 3), 0 to 1.

        ECE = sum_m |rows of bin m| / n  |accuracy(m) - confidence(m)|

    The confidence of a row is the probability of its likeliest label. Bins are equally wide and closed on the
    left, [m / M, (m + 1) / M); the last one is closed on the right, too, so that 1 belongs to it.
    """

    needs = {"task.predicts": ("a label", "a grade")}
    lower_is_better = ("ece",)

    def __init__(self, bins: Annotated[int, ">= 1"]) -> None:
        self.edges_M, self.size = np.arange(bins) / bins, 3 * bins

    def count(self, prediction: np.ndarray, references: Sequence[int]) -> np.ndarray:
        """The row, its confidence and whether it is right, in its bin."""
        counts_3M = np.zeros((3, len(self.edges_M)))
        guess = int(np.argmax(prediction))
        index = np.searchsorted(self.edges_M, prediction[guess], side="right") - 1
        counts_3M[:, index] = 1, prediction[guess], guess == references[0]
        return counts_3M.reshape(-1)

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        rows_M, confidence_M, right_M = sums.reshape(3, -1)
        return {"ece": float(np.abs(right_M - confidence_M).sum() / max(rows_M.sum(), 1))}
