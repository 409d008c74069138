"""The words of texts as 64-bit hashes, in arrays: what near-duplicates and contamination are found by.

In scripts that put no spaces between words (Han, kana, Thai, Lao, Tibetan, Burmese, Khmer) each character is
a word. The hash of a word with code points c_0 ... c_m is mix(sum_j (c_j + 1) P^j mod 2^64), of an n-gram
with words w_1 ... w_n is mix(sum_k w_k Q^(n-k) mod 2^64): two different ones are equal by chance, 2^-64.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")
AT_ONCE = 1 << 18  # characters hashed together: 2 MB of 64-bit numbers, which a CPU's cache holds
LONGEST = 1 << 10  # characters in which a blank is looked for where a longer text is cut
BLANK, INSIDE, ALONE, IGNORED = range(4)
SPACELESS = (
    (0x0E00, 0x0FFF),  # Thai, Lao, Tibetan
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x3040, 0x312F),  # kana, Bopomofo
    (0x31A0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # kana of half width
    (0x1B000, 0x1B16F),
    (0x20000, 0x323AF),  # Han
)
BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
WORD_BASE = 0xD1342543DE82EF95


@cache
def classify_spaced() -> np.ndarray:
    """Class of each code point where words are what stands between blanks."""
    return _classify(lambda character: BLANK if character.isspace() else INSIDE)


@cache
def classify_letters() -> np.ndarray:
    """Class of each code point where words are of letters, digits and marks, and format characters nothing.

    Variation selectors are passed over like format characters (U+00AD, U+200B, U+FEFF, ...).
    """
    kinds = {"L": INSIDE, "N": INSIDE, "M": INSIDE, "Cf": IGNORED}

    def classify(character: str) -> int:
        category = unicodedata.category(character)
        return kinds.get(category, kinds.get(category[0], BLANK))

    classes = _classify(classify)
    for first, last in ((0xFE00, 0xFE0F), (0xE0100, 0xE01EF), (0x034F, 0x034F)):
        classes[first : last + 1] = IGNORED
    return classes


def fold(text: str) -> str:
    """Compatibility characters and case removed: what looks alike is alike."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def hash_words(texts: list[str], classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the words of some texts, one text after the other, and the number of words of each.

    A text of more than AT_ONCE characters is cut at blanks; a word of more than LONGEST may become two.
    """
    if sum(map(len, texts)) + len(texts) <= AT_ONCE:
        return _hash_words(texts, classes)
    found = [[_hash_words([piece], classes)[0] for piece in cut(text)] for text in texts]
    words = [np.concatenate(pieces) if pieces else np.empty(0, np.uint64) for pieces in found]
    return np.concatenate(words), np.array([len(each) for each in words])


def hash_ngrams(words: np.ndarray, n: int) -> np.ndarray:
    """Hash of the n words from each place on that has as many after it."""
    places = max(0, len(words) - n + 1)
    return hash_ngrams_at(words, n, slice(0, places))


def hash_ngrams_at(words: np.ndarray, n: int, places: slice | np.ndarray) -> np.ndarray:
    """Hash of the n words from each of some places on."""
    hashes = np.zeros_like(words[places])
    for k in range(n if len(hashes) else 0):
        hashes *= np.uint64(WORD_BASE)
        hashes += words[k:][places]
    return mix(hashes)


def mix(numbers: np.ndarray) -> np.ndarray:
    """Spread each number over all 64 bits, in place: the finaliser of MurmurHash3 (Appleby 2011)."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        numbers ^= numbers >> np.uint64(33)
        numbers *= np.uint64(factor)
    numbers ^= numbers >> np.uint64(33)
    return numbers


def batch_texts(items: Iterable[tuple[Item, str]]) -> Iterator[tuple[list[Item], list[str]]]:
    """Items and texts that `hash_words` takes at once; a long text is alone."""
    held: list[Item] = []
    texts: list[str] = []
    length = 0
    for item, text in items:
        if texts and length + len(text) + 1 > AT_ONCE:
            yield held, texts
            held, texts, length = [], [], 0
        held.append(item)
        texts.append(text)
        length += len(text) + 1
    if texts:
        yield held, texts


def cut(text: str) -> Iterator[str]:
    """Pieces of at most AT_ONCE characters, cut at blanks where there are any."""
    begin = 0
    while len(text) - begin >= AT_ONCE:
        end = begin + AT_ONCE - 1
        blank = next((at for at in range(end, end - LONGEST, -1) if text[at].isspace()), end)
        yield text[begin:blank]
        begin = blank
    yield text[begin:]


def _classify(classify: Callable[[str], int]) -> np.ndarray:
    classes = np.array([classify(chr(code)) for code in range(0x110000)], np.uint8)
    for first, last in SPACELESS:
        part = classes[first : last + 1]
        part[part == INSIDE] = ALONE
    return classes


@cache
def _powers() -> tuple[np.ndarray, np.ndarray]:
    """P^0 ... P^(AT_ONCE - 1) modulo 2^64, and their inverses."""
    steps = np.empty((2, AT_ONCE), np.uint64)
    steps[:, 0], steps[0, 1:], steps[1, 1:] = 1, BASE, pow(BASE, -1, 2**64)
    powers, inverses = np.multiply.accumulate(steps, axis=1)
    return powers, inverses


def _hash_words(texts: list[str], classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    codes = np.frombuffer("\n".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    ends = np.cumsum([len(text) + 1 for text in texts])
    kinds = classes[codes]
    kept = kinds != IGNORED
    if not kept.all():
        ends = np.concatenate([[0], np.cumsum(kept), [np.count_nonzero(kept) + 1]])[ends]
        codes, kinds = codes[kept], kinds[kept]
    if not len(codes):
        return np.empty(0, np.uint64), np.zeros(len(texts), np.int64)
    powers, inverses = _powers()
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum((codes + np.uint64(1)) * powers[: len(codes)], out=sums[1:])
    inside = np.zeros(len(codes) + 2, bool)
    inside[1:-1] = kinds == INSIDE
    alone = kinds == ALONE
    first = np.flatnonzero(inside[1:-1] & ~inside[:-2] | alone)
    after = np.flatnonzero(inside[1:-1] & ~inside[2:] | alone) + 1
    counts = np.diff(np.searchsorted(first, ends), prepend=0)
    return mix((sums[after] - sums[first]) * inverses[first]), counts
