"""F1 of labels, macro and micro."""

import numpy as np

from triad.metrics.class_counts import ClassCounts, average


class F1(ClassCounts):
    """F1 of labels: macro, the mean over the labels that occur, and micro, of all rows together.

        F1(label) = 2 right / (rows predicted as it + rows whose reference it is)

    A label that is neither predicted nor a reference has no part in the macro mean: the rule of scikit-learn
    and torchmetrics. `only` names the labels that count; of all labels, the micro average is the accuracy.
    """

    needs = {"task.predicts": ("a label", "a grade")}
    higher_is_better = ("macro_f1", "micro_f1")

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        right_N, predicted_N, gold_N = self.read(sums)
        macro, micro = average(2 * right_N, predicted_N + gold_N, predicted_N + gold_N > 0)
        return {"macro_f1": macro, "micro_f1": micro}
