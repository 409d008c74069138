"""How often each class is predicted, is right and stands in the references. Shapes: C classes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class ClassCounts(NamedTuple):
    """Of each class: rows where it is predicted and right, predicted, and the reference."""

    right_C: np.ndarray
    predicted_C: np.ndarray
    gold_C: np.ndarray

    @classmethod
    def read(cls, sums: np.ndarray) -> "ClassCounts":
        """The counts that `count_classes` of all rows sum to."""
        return cls(*sums.reshape(3, -1))


def count_classes(probabilities_C: np.ndarray, references: Sequence[int]) -> np.ndarray:
    """The counts of one row, [3 C]; of two classes that are equally likely, the first is predicted."""
    classes = len(probabilities_C)
    counted = np.zeros((3, classes))
    guess, gold = int(np.argmax(probabilities_C)), references[0]
    counted[0, guess] = guess == gold
    counted[1, guess] = counted[2, gold] = 1
    return counted.reshape(-1)
