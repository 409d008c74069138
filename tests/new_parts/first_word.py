"""A metric of texts, which is monitored like any other."""

from collections.abc import Sequence

import numpy as np


class FirstWord:
    """The share of texts that begin with the first word of a reference."""

    needs = {"task.predicts": ("a sequence",)}
    higher_is_better = ("first_word",)
    size = 2

    def count(self, prediction: str, references: Sequence[str]) -> tuple[float, float]:
        return float(prediction.split()[:1] in [text.split()[:1] for text in references]), 1.0

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        return {"first_word": float(sums[0] / max(sums[1], 1))}
