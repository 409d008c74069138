"""Exact match: the share of texts that equal a reference."""

from collections.abc import Sequence

import numpy as np

from triad.metrics.corpus_scores import read_references


class ExactMatch:
    """The share of predicted texts that equal one of their references, character for character.

    Bytes that form no character are all decoded to U+FFFD and so compare as equal.
    """

    needs = {"task.predicts": ("a sequence", "an answer")}
    higher_is_better = ("exact_match",)
    size = 2

    def count(self, prediction: str, references: Sequence[str]) -> tuple[float, float]:
        return float(prediction in read_references(references)), 1.0

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        right, rows = sums
        return {"exact_match": float(right / max(rows, 1))}
