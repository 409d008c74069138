"""MinHash signatures of sets of shingles, and the bands by which similar ones meet."""

import numpy as np

from triad.data.word_hashes import hash_ngrams, mix

BLOCK = 1 << 15  # shingles permuted at once


def shingle(words: np.ndarray, counts: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the n-grams of each text, one text after the other, and how many each has.

    A text of fewer than n words is one shingle, of all its words; so is a text without words.
    """
    room = np.maximum(counts, n)
    ends = np.cumsum(room)
    padded = np.zeros(int(room.sum()), np.uint64)  # a short text ends with words that no text has
    padded[np.arange(len(words)) + np.repeat(ends - room - (np.cumsum(counts) - counts), counts)] = words
    within = np.ones(len(padded), bool)
    within[ends[:, None] - np.arange(1, n)] = False  # n-grams that would run over a text's end
    return hash_ngrams(padded, n)[within[: len(padded) - n + 1]], room - n + 1


class MinHash:
    """The least values of a set under permutations, in bands of rows: similar sets share a band.

        h_i(S) = min_{x in S} (a_i x + b_i mod 2^32),   P(h_i(S) = h_i(T)) = s = |S & T| / |S | T|
        P(a common band) = 1 - (1 - s^r)^b                     Broder 1997; Leskovec et al. 2020, §3.4.2

    "On the resemblance and containment of documents"; "Mining of Massive Datasets". a_i is odd and x the
    upper half of a shingle's hash. a_i and b_i are fixed, so that the same documents are found each time.
    """

    def __init__(self, bands: int, rows: int) -> None:
        self.bands, self.rows = bands, rows
        drawn = mix(np.arange(1, 2 * bands * rows + 1, dtype=np.uint64))
        self.factors, self.terms = (drawn >> np.uint64(32)).astype(np.uint32).reshape(2, bands * rows)
        self.factors |= np.uint32(1)

    def sign(self, shingles: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Signatures of sets that lie one after the other: (bands x rows, sets). No set is empty."""
        ends = np.cumsum(counts)
        signatures = np.full((self.bands * self.rows, len(counts)), 0xFFFFFFFF, np.uint32)
        upper = (shingles >> np.uint64(32)).astype(np.uint32)
        for begin in range(0, len(upper), BLOCK):
            block = upper[begin : begin + BLOCK]
            first = int(np.searchsorted(ends, begin, "right"))
            last = int(np.searchsorted(ends, begin + len(block), "left")) + 1
            starts = np.maximum(ends[first:last] - counts[first:last] - begin, 0)
            permuted = np.empty_like(block)
            for i, (factor, term) in enumerate(zip(self.factors, self.terms, strict=True)):
                np.multiply(block, factor, out=permuted)
                np.add(permuted, term, out=permuted)
                row = signatures[i, first:last]
                np.minimum(row, np.minimum.reduceat(permuted, starts), out=row)
        return signatures

    def hash_bands(self, signatures: np.ndarray) -> np.ndarray:
        """A key for each band of each set, (bands, sets): equal where all rows of the same band are."""
        rows = signatures.reshape(self.bands, self.rows, -1).astype(np.uint64)
        keys = np.repeat(np.arange(1, self.bands + 1, dtype=np.uint64)[:, None], rows.shape[-1], 1)
        for row in range(self.rows):
            mix(keys)
            keys ^= rows[:, row]
        return mix(keys)

    def probability(self, similarity: float) -> float:
        """That two sets of some Jaccard similarity share a band."""
        return 1 - (1 - similarity**self.rows) ** self.bands
