"""METEOR: unigrams that match exactly, by stem or as synonyms, and how far they are in order."""

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from triad.metrics.corpus_scores import read_references

Match = tuple[int, int]  # places in the hypothesis and in the reference
ALPHA, BETA, GAMMA = 0.9, 3.0, 0.5


class Meteor:
    """METEOR, 0 to 1: the mean over rows (Banerjee and Lavie 2005; parameters of Lavie and Agarwal 2007).

        score = (1 - gamma (chunks / matches)^beta) P R / (alpha P + (1 - alpha) R)

    alpha .9, beta 3, gamma .5. Words, lower-cased, match exactly first, then by Porter's stem, then as
    synonyms, those of one line of the file `synonyms`. Aligned as nltk does: from the right, each word with
    the last one that is free, so that the figures are nltk's. The paper takes the alignment with the fewest
    chunks, which scores higher where a word is repeated. Words are cut by sacrebleu's 13a. Of several
    references the best one counts.
    """

    needs = {"task.predicts": ("a sequence", "an answer")}
    packages = ("nltk", "sacrebleu")
    higher_is_better = ("meteor",)
    size = 2

    def __init__(self, synonyms: str | None) -> None:
        self.synonyms = read_synonyms(Path(synonyms)) if synonyms else {}

    @cached_property
    def stemmer(self) -> Any:
        from nltk.stem.porter import PorterStemmer

        return PorterStemmer()

    @cached_property
    def tokenizer(self) -> Any:
        from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

        return Tokenizer13a()

    @property
    def signature(self) -> str:
        return f"alignment:nltk|stem:porter|synonyms:{'yes' if self.synonyms else 'no'}|tok:13a|case:lc"

    def count(self, prediction: str, references: Sequence[str]) -> tuple[float, float]:
        """The score of the row, and the row."""
        words = self._split(prediction)
        return max(self._score(words, self._split(text)) for text in read_references(references)), 1.0

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        score, rows = sums
        return {"meteor": float(score / max(rows, 1))}

    def _split(self, text: str) -> list[str]:
        return self.tokenizer(text.rstrip()).lower().split()

    def _score(self, hypothesis: list[str], reference: list[str]) -> float:
        matches = self.align(hypothesis, reference)
        if not matches:
            return 0.0
        precision, recall = len(matches) / len(hypothesis), len(matches) / len(reference)
        mean = precision * recall / (ALPHA * precision + (1 - ALPHA) * recall)
        return (1 - GAMMA * (count_chunks(matches) / len(matches)) ** BETA) * mean

    def align(self, hypothesis: list[str], reference: list[str]) -> list[Match]:
        """The words of the hypothesis that match, in order, each with one of the reference."""
        matches: list[Match] = []
        ours, theirs = dict(enumerate(hypothesis)), dict(enumerate(reference))
        stages = (str, _alone), (self.stemmer.stem, _alone), (str, self._find_synonyms)
        for read, widen in stages:
            free: dict[str, list[int]] = {}  # places of the reference that no word has, by their word
            for place, word in theirs.items():
                free.setdefault(read(word), []).append(place)
            for place in sorted(ours, reverse=True):
                places = [free[word] for word in widen(read(ours[place])) if free.get(word)]
                if places:
                    last = max(places, key=lambda found: found[-1]).pop()
                    matches.append((place, last))
                    del ours[place], theirs[last]
        return sorted(matches)

    def _find_synonyms(self, word: str) -> set[str]:
        return {word} | self.synonyms.get(word, set())


def count_chunks(matches: Sequence[Match]) -> int:
    """Runs of matches that are adjacent in both texts."""
    return 1 + sum(later != (here + 1, there + 1) for (here, there), later in pairwise(matches))


def read_synonyms(path: Path) -> dict[str, set[str]]:
    """The words that stand on a line with a word, of a text file. Raises ValueError where it is not there."""
    if not path.is_file():
        raise ValueError(f"synonyms={path}: no such file; each of its lines has words that mean the same")
    table: dict[str, set[str]] = {}
    for line in path.read_text(encoding="utf-8").split("\n"):
        words = line.lower().split()
        for word in words:
            table.setdefault(word, set()).update(words)
    return table


def _alone(word: str) -> set[str]:
    return {word}
