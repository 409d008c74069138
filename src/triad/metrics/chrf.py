"""chrF, by sacrebleu."""

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated

import numpy as np

from triad.metrics.corpus_scores import CorpusScore


class ChrF:
    """F of character n-grams up to 6 over a corpus, 0 to 100 (Popovic 2015), by sacrebleu.

        chrF = (1 + beta^2) P R / (beta^2 P + R),   beta = 2

    P and R are means over the orders of n-grams. `word_order` 2 is chrF++, with n-grams of words beside.
    """

    needs = {"task.predicts": ("a sequence", "an answer")}
    packages = ("sacrebleu",)
    higher_is_better = ("chrf",)

    def __init__(self, word_order: Annotated[int, ">= 0"]) -> None:
        self.word_order, self.size = word_order, 3 * (6 + word_order)

    @cached_property
    def corpus(self) -> CorpusScore:
        from sacrebleu.metrics.chrf import CHRF

        return CorpusScore(CHRF(word_order=self.word_order))

    @property
    def signature(self) -> str:
        return self.corpus.signature

    def count(self, prediction: str, references: Sequence[str]) -> Sequence[float]:
        return self.corpus.count(prediction, references)

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        return {"chrf": self.corpus.score(sums)}
