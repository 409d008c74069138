"""Which source each row of a mixture comes from: arithmetic alone, for any row without the rows before it.

N sources, R rows.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from heapq import heapify, heappop, heappush
from itertools import pairwise

import numpy as np

FINEST = 1 << 16  # rows after which the order of the sources repeats, at most


def divide_period(weights: Sequence[Fraction]) -> list[int]:
    """Rows of each source in one period of the order, in proportion to the weights.

    The period is the least in which all are whole numbers. Where that is above FINEST it is FINEST, rounded
    by largest remainders: a share is then off by less than 1 / FINEST. Smaller ones are 1 / FINEST, which the
    largest gives up.
    """
    total = sum(weights)
    shares = [weight / total for weight in weights]
    period = math.lcm(*(share.denominator for share in shares))
    if period <= FINEST:
        return [int(share * period) for share in shares]
    rows = [max(int(share * FINEST), int(share > 0)) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda n: shares[n] * FINEST - rows[n], reverse=True)
    missing = FINEST - sum(rows)
    for n in by_remainder[:missing] if missing > 0 else ():
        rows[n] += 1
    for _ in range(-missing):  # shares that were raised to 1 / FINEST are taken from the largest
        rows[rows.index(max(rows))] -= 1
    return rows


def take_turns(rows_N: Sequence[int]) -> np.ndarray:
    """The order of the sources in one period: after any j rows each has had its share within one row.

        |count_n(j) - share_n j| <= 1 - 1 / (2 N - 2)

    Tijdeman 1980, "The chairman assignment problem", Discrete Mathematics 32, 323-330. Row i of source n may
    come once share_n j >= i + 1 / (2 N - 2); of those that may, the one goes first whose bound would break
    first, that is at share_n j = i + 1 - 1 / (2 N - 2). The order is a function of the deviations, which are
    zero after `period` rows, and so repeats. All is in whole numbers.
    """
    period, sources = sum(rows_N), [n for n, rows in enumerate(rows_N) if rows]
    if len(sources) == 1:
        return np.full(period, sources[0], np.int64)
    part = 2 * len(sources) - 2

    def release(n: int, i: int) -> int:
        return -(-period * (part * i + 1) // (part * rows_N[n]))

    def deadline(n: int, i: int) -> float:  # of ratios of numbers below 2^26 no two different ones are equal
        return (part * (i + 1) - 1) / rows_N[n]

    waiting = [(release(n, 0), n, 0) for n in sources]
    heapify(waiting)
    ready: list[tuple[float, int, int]] = []
    order_W = np.empty(period, np.int64)
    for j in range(period):
        while waiting and waiting[0][0] <= j + 1:
            _, n, i = heappop(waiting)
            heappush(ready, (deadline(n, i), n, i))
        _, n, i = heappop(ready)
        order_W[j] = n
        heappush(waiting, (release(n, i + 1), n, i + 1))
    return order_W


class Turns:
    """The sources of rows 0, 1, 2 ... under weights that stay."""

    def __init__(self, weights: Sequence[Fraction]) -> None:
        self.rows_N = np.array(divide_period(weights))
        order_W = take_turns(self.rows_N.tolist())
        self.source_W = order_W
        self.before_NW = np.stack([np.cumsum(order_W == n) - (order_W == n) for n in range(len(weights))])

    def count(self, rows: int) -> np.ndarray:
        """Rows of each source among the first so many."""
        periods, rest = divmod(rows, len(self.source_W))
        return self.rows_N * periods + self.before_NW[:, rest]

    def find(self, rows_R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The source of some rows, and how many rows of that source come before each."""
        periods_R, rest_R = np.divmod(rows_R, len(self.source_W))
        source_R = self.source_W[rest_R]
        return source_R, self.rows_N[source_R] * periods_R + self.before_NW[source_R, rest_R]


class MixtureOrder:
    """The source of each row, and its row there, under weights that change at some rows.

    `stages` are (first row, weights of the N sources). A source goes on where it was: its rows are counted
    through all stages, at the cost of one addition a stage.
    """

    def __init__(self, stages: Sequence[tuple[int, Sequence[Fraction]]]) -> None:
        assert stages[0][0] == 0
        self.firsts = [first for first, _ in stages]
        self.turns = [Turns(weights) for _, weights in stages]
        self.before = [np.zeros(len(stages[0][1]), np.int64)]
        for (first, following), turns in zip(pairwise(self.firsts), self.turns, strict=False):
            self.before.append(self.before[-1] + turns.count(following - first))

    def count(self, row: int) -> np.ndarray:
        """Rows of each source before a row."""
        stage = bisect_right(self.firsts, row) - 1
        return self.before[stage] + self.turns[stage].count(row - self.firsts[stage])

    def find(self, rows_R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The source of some rows, and which row of that source each is."""
        stage_R = np.searchsorted(self.firsts, rows_R, "right") - 1
        source_R, own_R = np.empty_like(rows_R), np.empty_like(rows_R)
        for stage in np.unique(stage_R).tolist():
            at = stage_R == stage
            source_R[at], own_R[at] = self.turns[stage].find(rows_R[at] - self.firsts[stage])
            own_R[at] += self.before[stage][source_R[at]]
        return source_R, own_R
