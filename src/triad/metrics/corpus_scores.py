"""Corpus scores of text by sacrebleu: it counts the statistics of each row, and scores their sum."""

from collections.abc import Sequence
from typing import Any

import numpy as np


class CorpusScore:
    """The statistics and the score of one of sacrebleu's metrics (Post 2018, arXiv:1804.08771).

    sacrebleu's own `corpus_score` adds up the same statistics, so that the figure is its figure to the last
    digit, however the rows are dealt. An empty hypothesis or reference is a row like another.
    """

    def __init__(self, metric: Any) -> None:
        self.metric, self.reference_numbers = metric, set()

    def count(self, prediction: str, references: Sequence[str]) -> Sequence[float]:
        """The statistics of one row."""
        references = read_references(references)
        self.reference_numbers.add(len(references))
        return self.metric._extract_corpus_statistics([prediction], [[text] for text in references])[0]

    def score(self, sums: np.ndarray) -> float:
        """The score of the summed statistics."""
        return self.metric._compute_score_from_stats(sums.tolist()).score

    @property
    def signature(self) -> str:
        """sacrebleu's signature: how the text was cut, the version, and the references of a row so far."""
        numbers = self.reference_numbers or {1}
        self.metric.num_refs = next(iter(numbers)) if len(numbers) == 1 else -1  # it says "var"
        return self.metric.get_signature().format()


def read_references(references: Sequence[str]) -> Sequence[str]:
    """The references of a row; the empty text where a question has no answer."""
    return references or [""]
