"""Translation edit rate, by sacrebleu."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from triad.metrics.corpus_scores import CorpusScore


class TER:
    """Edits that turn the hypotheses into their references, in percent (Snover et al. 2006), by sacrebleu.

        TER = 100 (insertions + deletions + substitutions + shifts) / words of the references

    Lower-cased as Tercom does. `asian` cuts Chinese and Japanese into characters; without, such a row is one
    word.
    """

    needs = {"task.predicts": ("a sequence", "an answer")}
    packages = ("sacrebleu",)
    lower_is_better = ("ter",)
    size = 2

    def __init__(self, asian: bool) -> None:
        self.asian = asian

    @cached_property
    def corpus(self) -> CorpusScore:
        from sacrebleu.metrics.ter import TER as Reference

        return CorpusScore(Reference(normalized=self.asian, asian_support=self.asian))

    @property
    def signature(self) -> str:
        return self.corpus.signature

    def count(self, prediction: str, references: Sequence[str]) -> Sequence[float]:
        return self.corpus.count(prediction, references)

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        return {"ter": self.corpus.score(sums)}
