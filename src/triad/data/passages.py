"""Passages of texts, and those among them that answer to a question: BM25."""

import re
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from triad.data.sources.finding import find
from triad.data.sources.opening import Quota
from triad.data.sources.reading import read_text

WORD = re.compile(r"\w+")
K1, B = 1.5, 0.75


class Passages:
    """Texts to be found by the words of a question, without regard to case.

        score(q, p) = sum_{w in q} idf_w f_wp / (f_wp + k_1 (1 - b + b |p| / a)),
        idf_w = log(1 + (N - n_w + 1/2) / (n_w + 1/2))
        Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond", with
        the idf of Lucene, which is positive (Kamphuis et al. 2020, "Which BM25 do you mean?", table 1)

    N passages, n_w of which have the word w, f_wp times in p; |p| words in p, a in the mean; k_1 = 1.5,
    b = 0.75. bm25s computes it.
    """

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    @cached_property
    def _words(self) -> list[list[str]]:
        return [find_words(text) for text in self.texts]

    @cached_property
    def _vocabulary(self) -> set[str]:
        return {word for words in self._words for word in words}

    @cached_property
    def _index(self) -> Any:
        try:
            import bm25s
        except ModuleNotFoundError:
            raise ValueError(
                "task.pairs: passages are found by the package bm25s: pip install bm25s, or the extra eval"
            ) from None
        index = bm25s.BM25(k1=K1, b=B, method="lucene")
        index.index(self._words, show_progress=False)
        return index

    def score(self, question: str) -> np.ndarray:
        """The score of each passage."""
        known = [word for word in find_words(question) if word in self._vocabulary]
        return self._index.get_scores(known) if known else np.zeros(len(self.texts), np.float32)

    def find(self, question: str, top_k: int) -> list[str]:
        """The passages with the highest scores, the best first, and of equal ones the first."""
        if len(self.texts) <= 1:
            return self.texts
        return [self.texts[place] for place in np.argsort(-self.score(question), kind="stable")[:top_k]]


def find_words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def cut_passages(text: str, words: int) -> list[str]:
    """Stretches of so many words each, without overlap, with what stands between the words.

    Karpukhin et al. 2020, arXiv:2004.04906, section 4.1: 100 words
    """
    starts = [match.start() for match in re.finditer(r"\S+", text)][::words]
    return [text[start:end].rstrip() for start, end in pairwise([*starts, len(text)])]


def read_passages(path: str, words: int) -> list[str]:
    """The passages of all files of a folder, in order of their names."""
    files = find(path, "task.pairs.passages", Quota())
    found = [passage for file in files for passage in cut_passages(read_text(file), words)]
    if not found:
        raise ValueError(f"task.pairs.passages={path}: its files have no text; give others")
    return found
