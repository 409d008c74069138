"""How often each label is right, is predicted and is the reference. Shapes: C classes, N chosen classes."""

from collections.abc import Sequence

import numpy as np


class ClassCounts:
    """Rows of each label: right ones, those predicted as it, and those whose reference it is.

    `only` names the labels that count, such as those of a stance without "none". Raises ValueError for one
    that is none of the labels.
    """

    def __init__(self, labels: tuple[str, ...], only: list[str] | None) -> None:
        for label in only or ():
            if label not in labels:
                raise ValueError(f"only={label} is none of the labels: use some of {', '.join(labels)}")
        self.chosen = [index for index, label in enumerate(labels) if only is None or label in only]
        self.size = 3 * len(labels)

    def count(self, probabilities_C: np.ndarray, references: Sequence[int]) -> np.ndarray:
        """The counts of one row; of two labels that are equally likely, the first is predicted."""
        counts_3C = np.zeros((3, self.size // 3))
        guess, gold = int(np.argmax(probabilities_C)), references[0]
        counts_3C[0, guess] = guess == gold
        counts_3C[1, guess] = counts_3C[2, gold] = 1
        return counts_3C.reshape(-1)

    def read(self, sums: np.ndarray) -> np.ndarray:
        """The summed counts of the chosen labels: right_N, predicted_N, gold_N."""
        return sums.reshape(3, -1)[:, self.chosen]


def average(right_N: np.ndarray, of_N: np.ndarray, occurs_N: np.ndarray) -> tuple[float, float]:
    """Macro and micro average of right / of: over the labels that occur, 0 where `of` is 0; of the sums."""
    ratio_N = right_N / np.maximum(of_N, 1)
    macro = ratio_N[occurs_N].mean() if occurs_N.any() else 0.0
    return float(macro), float(right_N.sum() / max(of_N.sum(), 1))
