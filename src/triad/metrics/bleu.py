"""BLEU, by sacrebleu."""

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import numpy as np

from triad.metrics.corpus_scores import CorpusScore


class BLEU:
    """BLEU of a corpus, 0 to 100, by sacrebleu (Papineni et al. 2002; Post 2018, arXiv:1804.08771).

        BLEU = BP exp(1/4 sum_n log p_n),   BP = exp(min(0, 1 - reference length / hypothesis length))

    p_n is the clipped precision of n-grams over all rows: the figure is never a mean over sentences.
    `tokenize` is sacrebleu's: 13a for languages with spaces, zh for Chinese, char for characters, none for
    text that is cut already; `signature` names it.
    """

    needs = {"task.predicts": ("a sequence", "an answer")}
    packages = ("sacrebleu",)
    higher_is_better = ("bleu",)
    size = 10  # lengths of hypothesis and reference, matches and totals of n-grams up to 4

    def __init__(self, tokenize: Literal["13a", "intl", "zh", "char", "none"], lowercase: bool) -> None:
        self.tokenize, self.lowercase = tokenize, lowercase

    @cached_property
    def corpus(self) -> CorpusScore:
        return self._score(effective_order=False)

    @cached_property
    def sentence(self) -> CorpusScore:
        return self._score(effective_order=True)

    @property
    def signature(self) -> str:
        return self.corpus.signature

    def count(self, prediction: str, references: Sequence[str]) -> Sequence[float]:
        return self.corpus.count(prediction, references)

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        return {"bleu": self.corpus.score(sums)}

    def compute_row(self, statistics: np.ndarray) -> dict[str, float]:
        """BLEU of one row, for tables of samples: of the n-grams that it has (effective order)."""
        return {"bleu": self.sentence.score(statistics)}

    def _score(self, effective_order: bool) -> CorpusScore:
        from sacrebleu.metrics.bleu import BLEU as Reference

        return CorpusScore(
            Reference(
                lowercase=self.lowercase,
                tokenize=self.tokenize,
                effective_order=effective_order,
                force=True,  # no warning about text that is cut already
            )
        )
