"""ROUGE, by rouge-score."""

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np

from triad.metrics.corpus_scores import read_references

KINDS = ("rouge1", "rouge2", "rougeL", "rougeLsum")


class Rouge:
    """ROUGE-1, -2, -L and -Lsum, 0 to 1: the mean F of rows (Lin 2004), by rouge-score.

        F = 2 P R / (P + R) of n-grams, or of the longest common subsequence

    Of several references the one with the highest F counts, for each kind. In rougeLsum a sentence is a
    line, so that newlines must survive. `stemming` is Porter's, for English. rouge-score reads a-z and
    digits alone: other letters are lost, so that it is no metric for other scripts, nor for German.
    """

    needs = {"task.predicts": ("a sequence", "an answer")}
    packages = ("rouge_score",)
    higher_is_better = ("rouge1", "rouge2", "rougeL", "rougeLsum")
    size = 5

    def __init__(self, stemming: bool) -> None:
        self.stemming = stemming

    @cached_property
    def scorer(self) -> Any:
        from rouge_score.rouge_scorer import RougeScorer

        return RougeScorer([*KINDS], use_stemmer=self.stemming, split_summaries=False)

    @property
    def signature(self) -> str:
        return f"rouge-score:{version('rouge-score')}|stem:{'yes' if self.stemming else 'no'}|sentences:lines"

    def count(self, prediction: str, references: Sequence[str]) -> list[float]:
        """F of each kind, and the row."""
        scores = self.scorer.score_multi(read_references(references), prediction)
        return [*(scores[kind].fmeasure for kind in KINDS), 1.0]

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        return {kind: float(total / max(sums[-1], 1)) for kind, total in zip(KINDS, sums, strict=False)}
