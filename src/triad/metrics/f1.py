"""F1 of labels, macro and micro. Shapes: C classes."""

from collections.abc import Sequence

import numpy as np

from triad.metrics.class_counts import ClassCounts, count_classes


class F1:
    """F1 of labels: macro, the mean over the labels that occur, and micro, of all rows together.

        F1(label) = 2 right / (rows predicted as it + rows whose reference it is)

    A label that is neither predicted nor a reference has no part in the macro mean, which is the rule of
    scikit-learn and torchmetrics. `only` names the labels that are averaged over, such as those of a stance
    without "none"; of all labels, micro F1 is the accuracy.
    """

    needs = {"task.predicts": ("a label",)}
    higher_is_better = ("macro_f1", "micro_f1")

    def __init__(self, labels: tuple[str, ...], only: list[str] | None = None) -> None:
        self.chosen, self.size = choose_labels(labels, only), 3 * len(labels)

    def count(self, prediction: np.ndarray, references: Sequence[int]) -> np.ndarray:
        return count_classes(prediction, references)

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        right_C, predicted_C, gold_C = (counts[self.chosen] for counts in ClassCounts.read(sums))
        seen_C = predicted_C + gold_C
        f1_C = 2 * right_C[seen_C > 0] / seen_C[seen_C > 0]
        micro = 2 * right_C.sum() / max(seen_C.sum(), 1)
        return {"macro_f1": float(f1_C.mean()) if len(f1_C) else 0.0, "micro_f1": float(micro)}


def choose_labels(labels: Sequence[str], only: Sequence[str] | None) -> list[int]:
    """The indices of the labels that are averaged over. Raises ValueError for one that is not there."""
    for label in only or ():
        if label not in labels:
            raise ValueError(f"only={label} is none of the labels: use some of {', '.join(labels)}")
    return [index for index, label in enumerate(labels) if only is None or label in only]
