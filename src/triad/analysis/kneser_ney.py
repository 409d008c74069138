"""N-gram language models with interpolated modified Kneser-Ney smoothing, counted with numpy.

A type of n-gram has a number, its place among the sorted keys of its order; a key is the number of the
history (the n-gram of one order less that it begins with) times a base, plus the last word. So all orders are
found by sorting 64-bit integers, and a text's n-grams by binary search. Lower counts are of types, not of
places: how many different words an n-gram follows.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

FALLBACK = (0.5, 1.0, 1.5)  # discounts where too little text says nothing better
CHUNK = 1 << 20  # places looked up at once


class Smoothed(NamedTuple):
    """p(w | h) = share(h w) + rest(h) p(w | h without its first word).

    `share` by type and `rest` by history; both end with what stands for those never seen, 0 and 1.
    """

    share: np.ndarray
    rest: np.ndarray


class Level(NamedTuple):
    """One order: the sorted keys of its types, smoothed as the last level of a model and as one below."""

    keys: np.ndarray
    last: Smoothed
    below: Smoothed | None  # None for the highest


class KneserNey:
    """Mix the n-grams of all orders up to the highest, each discounted by how rare it is.

        p(w | h) = (c(h w) - D(c(h w))) / c(h .) + gamma(h) p(w | h')
        gamma(h) = (D1 N1(h .) + D2 N2(h .) + D3+ N3+(h .)) / c(h .),   Y = n1 / (n1 + 2 n2)
        D1 = 1 - 2 Y n2 / n1,   D2 = 2 - 3 Y n3 / n2,   D3+ = 3 - 4 Y n4 / n3

    Chen and Goodman 1999, Computer Speech & Language 13:359-394, section 3 (modified Kneser-Ney). Below the
    highest order c counts the different words an n-gram follows; below the unigrams all words are alike. The
    text is one stream, which a mark before its first word begins, and n-grams run on over ends of documents,
    as rows of packing=windows do. Every order up to `order` is kept as a model of its own. Memory: some 120
    bytes a token while counting. Raises ValueError for an order below 1 or no text.
    """

    def __init__(self, tokens: np.ndarray, order: int, vocab_size: int):
        if order < 1 or not len(tokens):
            raise ValueError(f"order={order}, {len(tokens)} tokens: at least order=1 and one token")
        self.order, self.vocab_size, self.base = order, vocab_size, vocab_size + 1
        self.levels = list(self._levels(tokens))

    def _levels(self, tokens: np.ndarray) -> Iterator[Level]:
        text = np.concatenate((np.full(self.order - 1, self.vocab_size), tokens)).astype(np.int64)
        ids = np.zeros(len(text) + 1, np.int32)  # of the n-gram that ends at each place, for the order before
        histories, held = 1, None
        for order in range(1, self.order + 1):
            keys, counts, first, new = number_keys(ids[:-1].astype(np.int64) * self.base + text[order - 1 :])
            real = keys % self.base != self.vocab_size  # and no run of marks
            if held:
                followed = np.bincount(ids[1:][first[real]], minlength=histories)
                yield Level(held[0], held[1], smooth(held[0] // self.base, followed, held[2]))
            held = keys, smooth(keys // self.base, counts * real, histories), histories
            ids, histories = new, len(keys)
        assert held is not None
        yield Level(held[0], held[1], None)

    def probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """p of each token behind those before it, [order, token]: a row for the model of each order."""
        ids = np.zeros(len(tokens) + 1, np.int64)
        lower, found = np.full(len(tokens), 1 / self.vocab_size), []
        for level in self.levels:
            history = ids[:-1]  # -1 where it has never been seen
            place = _find_places(level.keys, history * self.base + tokens)
            found.append(level.last.share[place] + level.last.rest[history] * lower)
            if level.below:
                lower = level.below.share[place] + level.below.rest[history] * lower
            ids = np.append(-1, place)
        return np.stack(found)

    def nats(self, tokens: np.ndarray) -> np.ndarray:
        """-log p of a text but for its first token, summed, by order."""
        total = np.zeros(self.order)
        for start in range(1, len(tokens), CHUNK):
            known = min(start, self.order - 1)  # words before, for the first of the chunk
            chunk = np.asarray(tokens[start - known : start + CHUNK], np.int64)
            total -= np.log(self.probabilities(chunk)[:, known:]).sum(1)
        return total


def number_keys(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The distinct keys, sorted; how often each comes, a place where it does, and the number of every key."""
    order = np.argsort(keys)
    in_order = keys[order]
    starts = np.flatnonzero(np.append(True, in_order[1:] != in_order[:-1]))
    counts = np.diff(starts, append=len(keys))
    ids = np.empty(len(keys), np.int32)
    ids[order] = np.repeat(np.arange(len(starts), dtype=np.int32), counts)
    return in_order[starts], counts, order[starts], ids


def smooth(history: np.ndarray, counts: np.ndarray, histories: int) -> Smoothed:
    """Take the discount off each count and keep what was taken for the order below."""
    discount = np.array([0.0, *estimate_discounts(counts)])[np.minimum(counts, 3)]
    total = np.bincount(history, counts, histories)
    taken = np.bincount(history, discount, histories)
    seen = total > 0
    rest = np.divide(taken, total, where=seen, out=np.ones(histories))
    share = (counts - discount) / np.where(seen, total, 1)[history]
    return Smoothed(np.append(share, 0.0), np.append(rest, 1.0))


def estimate_discounts(counts: np.ndarray) -> tuple[float, ...]:
    """D1, D2 and D3+ from how many types come once, twice, three and four times."""
    n1, n2, n3, n4 = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].tolist()
    if not (n1 and n2 and n3 and n4):
        return FALLBACK
    y = n1 / (n1 + 2 * n2)
    found = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
    return found if min(found) > 0 else FALLBACK


def _find_places(keys: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Where each key asked for stands, or -1."""
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[place] == asked, place, -1)
