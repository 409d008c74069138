"""Words as tokens."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from triad.data.sources.source import Source
from triad.data.tokenizers.tokenizer import ENCODED_AT_ONCE, Tokenizer, cut_at_lines
from triad.storage.cache import build_once
from triad.storage.manifest import Facts, fingerprint

LONGEST = 100  # characters of a word: what is longer is cut, so that a text without blanks is read in pieces
# of the basic plane: with the rest, historic scripts and music, the pattern takes 10 times as long
MARKS = "".join(chr(code) for code in range(0x300, 0xFE30) if unicodedata.category(chr(code))[0] == "M")
WORD = re.compile(rf" ?[\w{MARKS}\u200c\u200d]{{1,{LONGEST}}}| ?\S|\s")
UNKNOWN, SEPARATOR = 0, 1
SIGNS = ("<unk>", "</s>")


class Word(Tokenizer):
    """The most frequent words of a corpus; all others are the unknown token, which is decoded as `<unk>`.

    A word is a run of letters, digits, underscores and marks of at most 100 characters, with the blank before
    it; every other sign is one by itself, also with the blank before it, and so is every other blank. So a
    text whose words are all known survives the round trip, unless letters are made small.
    """

    kind = "word"
    has_unknown = True

    def __init__(self, words: list[str], specials: list[str], lowercase: bool) -> None:
        self.words, self.specials, self.lowercase = words, specials, lowercase
        self.separator, self.unknown = SEPARATOR, UNKNOWN
        self.pieces = [SIGNS[UNKNOWN].encode(), b"", *(b"" for _ in specials), *(w.encode() for w in words)]
        self._ids = {word: i for i, word in enumerate(words, start=len(SIGNS) + len(specials))}

    def encode(self, text: str) -> np.ndarray:
        return np.concatenate([np.empty(0, np.int64), *self.encode_pieces([text])])

    def encode_pieces(self, pieces: Iterable[str]) -> Iterator[np.ndarray]:
        for words in split_words(pieces, self.lowercase):
            yield np.array([self._ids.get(word, UNKNOWN) for word in words], np.int64)

    def encode_with_offsets(self, text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        lengths = np.array(
            [len(word) for words in split_words([text], lowercase=False) for word in words], int
        )
        return self.encode(text), lengths.cumsum() - lengths, lengths.cumsum()

    @cached_property
    def begins_word(self) -> np.ndarray:
        return np.ones(self.vocab_size, bool)

    def settings(self) -> dict[str, Any]:
        return {"words": self.words, "specials": self.specials, "lowercase": self.lowercase}


def word(
    source: Source,
    cache: Path,
    min_freq: Annotated[int, ">= 1"],
    max_size: Annotated[int, ">= 1"] | None,
    specials: list[str],
    lowercase: bool,
) -> Word:
    """Words that the training split has at least `min_freq` times, the most frequent first.

    `max_size` bounds the vocabulary, in which `specials` are further tokens that no text becomes.
    """
    if repeated := [name for name, times in Counter([*SIGNS, *specials]).items() if times > 1]:
        raise ValueError(f"tokenizer.specials={specials}: {repeated[0]} is there already; leave it out")
    text = source.contents["train"].fingerprint
    folder = cache / f"tokenizer-{fingerprint('word', text, min_freq, lowercase, WORD.pattern)}"
    words = build_once(folder, partial(_find_words, source, min_freq, lowercase))["words"]
    if not words:
        raise ValueError(
            f"tokenizer.min_freq={min_freq}: no word of data={source.name} is so frequent; lower it"
        )
    room = None if max_size is None else max_size - len(SIGNS) - len(specials)
    if room is not None and room < 1:
        least = len(SIGNS) + len(specials) + 1
        raise ValueError(
            f"tokenizer.max_size={max_size}: one word and the special tokens need {least} or more"
        )
    return Word(words[:room], specials, lowercase)


def load(folder: Path, words: list[str], specials: list[str], lowercase: bool) -> Word:
    """The one of these words."""
    return Word(words, specials, lowercase)


def split_words(pieces: Iterable[str], lowercase: bool) -> Iterator[list[str]]:
    """The words of a text that comes in pieces; the last match of a piece may go on in the next one."""
    rest = ""
    for piece in cut_at_lines(pieces, ENCODED_AT_ONCE):
        rest += piece
        *words, last = WORD.findall(rest) or [""]
        yield [word.lower() for word in words] if lowercase else words
        rest = last
    if rest:
        yield [rest.lower() if lowercase else rest]


def _find_words(source: Source, min_freq: int, lowercase: bool, folder: Path) -> Facts:
    count: Counter[str] = Counter()
    for document in source.documents("train"):
        for words in split_words(document.pieces, lowercase):
            count.update(words)
    found = (word for word, times in count.items() if times >= min_freq)
    return {"words": sorted(found, key=lambda word: (-count[word], word))}
