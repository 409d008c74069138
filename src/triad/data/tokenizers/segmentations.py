"""Segmentations of a text that are drawn at random, for training that meets more than one of them.

sentencepiece samples, too, but from a generator that it salts for each process, so that no seed gives the
same tokens in two of them. A word here is a run of blanks and what follows up to the next blank: no learned
piece reaches over its ends, so that the segmentations of words are independent.
"""

import heapq
import math
import re
from collections.abc import Iterator
from random import Random
from typing import TypeVar

WORD = re.compile(" *[^ ]+| +")
Choice = TypeVar("Choice")
Scores = dict[str, float]  # of pieces: of a unigram model the log probability, of merges the negative rank


def drop_merges(word: str, scores: Scores, dropout: float, random: Random) -> list[str]:
    """BPE-dropout: merge neighbours, the best-ranked pair first, but drop each merge with a probability.

    Provilkov et al. 2020, arXiv:1910.13267, algorithm 1. Deviates as sentencepiece does: a pair that is
    dropped is not tried again until one of its sides has been merged with another neighbour.
    """
    symbols: list[str] = list(word)
    before, after = list(range(-1, len(word) - 1)), list(range(1, len(word) + 1))
    agenda: list[tuple[float, int, int, str]] = []

    def propose(left: int, right: int) -> None:
        if left >= 0 and right < len(symbols):
            merged = symbols[left] + symbols[right]
            if (score := scores.get(merged)) is not None:
                heapq.heappush(agenda, (-score, left, right, merged))

    for left in range(len(word) - 1):
        propose(left, left + 1)
    while agenda:
        _, left, right, merged = heapq.heappop(agenda)
        stale = not symbols[left] or not symbols[right] or symbols[left] + symbols[right] != merged
        if stale or random.random() < dropout:
            continue
        symbols[left], symbols[right] = merged, ""
        after[left] = after[right]
        if after[right] < len(symbols):
            before[after[right]] = left
        propose(before[left], left)
        propose(left, after[left])
    return [symbol for symbol in symbols if symbol]


def draw_path(
    word: str, scores: Scores, longest: int, unknown: float, alpha: float, random: Random
) -> list[str]:
    """Draw a segmentation x of a word by its probability under a unigram model, smoothed by `alpha`.

        P(x) ~ exp(alpha sum_i log p(x_i)),   forward-filtering, backward-sampling
        Kudo 2018, arXiv:1804.10959, section 3.2, with l = all

    A character without a piece counts as one of log probability `unknown`; no piece is longer than `longest`.
    """
    forward = [0.0]  # log sum over the segmentations of a prefix
    steps: list[list[tuple[int, float]]] = [[]]
    for end in range(1, len(word) + 1):
        arcs = list(_find_arcs(word, end, longest, scores, unknown))
        steps.append([(start, forward[start] + alpha * score) for start, score in arcs])
        top = max(weight for _, weight in steps[-1])
        forward.append(top + math.log(sum(math.exp(weight - top) for _, weight in steps[-1])))
    path, end = [], len(word)
    while end:
        start = draw(steps[end], random)
        path.append(word[start:end])
        end = start
    return path[::-1]


def _find_arcs(
    word: str, end: int, longest: int, scores: Scores, unknown: float
) -> Iterator[tuple[int, float]]:
    """The pieces that end at a place: where each starts, and its log probability."""
    for start in range(max(0, end - longest), end):
        score = scores.get(word[start:end], unknown if start == end - 1 else None)
        if score is not None:
            yield start, score


def draw(choices: list[tuple[Choice, float]], random: Random) -> Choice:
    """One of some choices with the logarithms of their weights."""
    top = max(weight for _, weight in choices)
    weights = [math.exp(weight - top) for _, weight in choices]
    return random.choices([choice for choice, _ in choices], weights)[0]
