"""Gopher's rules on repetition within a page. W words."""

import re
from collections.abc import Iterable

import numpy as np

from triad.data.clean.drop import Drop
from triad.data.clean.language import is_in
from triad.data.clean.words import split_words

LINE_ENDS = re.compile(r"\n++")
PARAGRAPH_ENDS = re.compile(r"\n{2,}+")


def gopher_repetition(
    text: str,
    max_duplicate_lines: float,
    max_duplicate_paragraphs: float,
    max_characters_in_duplicate_lines: float,
    max_characters_in_duplicate_paragraphs: float,
    max_top_n_grams: dict[int, float],
    max_duplicate_n_grams: dict[int, float],
    languages: list[str] | None,
) -> str | Drop:
    """Drop a page that repeats its lines, paragraphs or n-grams of words.

    Rae et al. 2021, arXiv:2112.11446, table A1, as datatrove's GopherRepetitionFilter counts. Duplicates are
    what equals an earlier line (paragraph), as a share of their number and of the page's characters. For each
    n of `max_top_n_grams` the characters of the most frequent n-gram, times its count; for each n of
    `max_duplicate_n_grams` those in n-grams that occurred before, none counted twice.

    The n-grams are looked at in `languages` only: words of others may have no blanks between them. Deviates:
    `split_words` in the place of spaCy; n-grams are equal where their words are.
    """
    paragraphs, lines, length = PARAGRAPH_ENDS.split(text.strip()), LINE_ENDS.split(text), max(len(text), 1)
    repeated, characters = count_duplicates(paragraphs)
    if repeated / len(paragraphs) > max_duplicate_paragraphs:
        return Drop("max_duplicate_paragraphs")
    if characters / length > max_characters_in_duplicate_paragraphs:
        return Drop("max_characters_in_duplicate_paragraphs")
    repeated, characters = count_duplicates(lines)
    if repeated / len(lines) > max_duplicate_lines:
        return Drop("max_duplicate_lines")
    if characters / length > max_characters_in_duplicate_lines:
        return Drop("max_characters_in_duplicate_lines")
    sizes = sorted({*max_top_n_grams, *max_duplicate_n_grams})
    if not sizes or not is_in(text, languages):
        return text
    words = split_words(text)
    number_of: dict[str, int] = {}
    ids_W = np.array([number_of.setdefault(word, len(number_of)) for word in words], np.int64)
    ends_W = np.cumsum([0, *map(len, words)])
    grams_W = ids_W
    found: dict[int, np.ndarray] = {1: ids_W}
    for n in range(2, sizes[-1] + 1):  # an n-gram is an (n-1)-gram and a word
        if len(grams_W) < 2:
            break
        grams_W = np.unique(grams_W[:-1] * len(number_of) + ids_W[n - 1 :], return_inverse=True)[1]
        found[n] = grams_W
        if n > max(max_top_n_grams, default=0) and grams_W.max() == len(grams_W) - 1:
            break  # all are different, and so are longer ones
    for n, most in sorted(max_top_n_grams.items()):
        if n in found and _measure_top(found[n], ends_W, n) / length > most:
            return Drop(f"max_top_n_grams.{n}")
    for n, most in sorted(max_duplicate_n_grams.items()):
        if n in found and _measure_duplicates(found[n], ends_W, n, most * length) / length > most:
            return Drop(f"max_duplicate_n_grams.{n}")
    return text


def count_duplicates(parts: Iterable[str]) -> tuple[int, int]:
    """How many parts equal an earlier one, and their characters."""
    seen: set[str] = set()
    repeated = characters = 0
    for part in parts:
        if part in seen:
            repeated += 1
            characters += len(part)
        else:
            seen.add(part)
    return repeated, characters


def _measure_top(grams_W: np.ndarray, ends_W: np.ndarray, n: int) -> int:
    """Characters of the most frequent n-gram, with blanks between its words, times its count.

    Of several the first in the text, as datatrove has it.
    """
    counts = np.bincount(grams_W)
    first = int(np.argmax(counts[grams_W]))
    return int(ends_W[first + n] - ends_W[first] + n - 1) * int(counts.max())


def _measure_duplicates(grams_W: np.ndarray, ends_W: np.ndarray, n: int, enough: float) -> int:
    """Characters in n-grams that occurred before, from left to right and none twice.

    Where even all places of repeated n-grams together are not more than `enough`, these are returned.
    """
    firsts = np.unique(grams_W, return_index=True)[1]
    repeated_W = np.ones(len(grams_W), bool)
    repeated_W[firsts] = False
    if not repeated_W.any():
        return 0
    starts = np.flatnonzero(repeated_W)
    ends = np.minimum(np.append(starts[1:], len(ends_W)), starts + n)
    if (most := int((ends_W[ends] - ends_W[starts]).sum())) <= enough:
        return most
    seen: set[int] = set()
    characters = place = 0
    grams = grams_W.tolist()
    while place < len(grams):
        if grams[place] in seen:
            characters += int(ends_W[place + n] - ends_W[place])
            place += n
        else:
            seen.add(grams[place])
            place += 1
    return characters


gopher_repetition.packages = ("py3langid",)
