"""Recall of labels, macro and micro."""

import numpy as np

from triad.metrics.class_counts import ClassCounts, average


class Recall(ClassCounts):
    """Recall of labels: macro, the mean over the labels that occur, and micro, of all rows together.

        recall(label) = right / rows whose reference it is,   0 where there is none

    A label that is neither predicted nor a reference has no part in the macro mean: the rule of scikit-learn
    and torchmetrics. `only` names the labels that count; of all labels, the micro average is the accuracy.
    """

    needs = {"task.predicts": ("a label", "a grade")}
    higher_is_better = ("macro_recall", "micro_recall")

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        right_N, predicted_N, gold_N = self.read(sums)
        macro, micro = average(right_N, gold_N, predicted_N + gold_N > 0)
        return {"macro_recall": macro, "micro_recall": micro}
