"""Batches of rows of like lengths. N rows, K buckets, R rows of a batch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from triad.data.shuffle import hash_pairs, shuffle_rows
from triad.storage.cache import build_once
from triad.storage.manifest import Facts

SPREAD = 1.1  # the longest row of a bucket over its shortest: length_bucket_step of tensor2tensor
Unit = Literal["rows", "tokens"]
CHUNK = 1 << 20  # rows whose lengths are found at once


class PaddedRows(Protocol):
    """Rows that are padded to the longest of their batch."""

    called: str  # in a sentence

    def __len__(self) -> int: ...

    @property
    def folder(self) -> Path:
        """Where the order of these rows by length is kept."""
        ...

    def find_lengths(self, rows_R: np.ndarray) -> np.ndarray:
        """Tokens of each row, of a pair those of its longer side."""
        ...

    def batch(self, rows_R: np.ndarray, rank: int, ranks: int) -> dict[str, Any]:
        """This rank's even share of some rows, as wide as the longest of all; a row of -1 is none."""
        ...


class LengthBuckets:
    """The rows of a file by length, in buckets whose batches have the same number of rows.

    The lengths in a bucket differ by SPREAD at most, or by more where these would be fewer than two batches.
    In each epoch the rows of every bucket are shuffled anew, and all batches of all buckets among each other,
    so that a batch is found in O(R) by (seed, step) alone.

    With `size` rows each batch has so many, and a remainder that fills none is left out, in every epoch
    another. With `size` tokens it has as many rows as keep rows x longest within so many, and each row comes
    once in an epoch. Without `anew` every epoch is as the first. `padding` is the share of a batch that no
    token takes, at most. The order by length is kept on disk, 4 bytes a row, and mapped.
    """

    def __init__(self, rows: PaddedRows, size: int, unit: Unit, anew: bool = True) -> None:
        self.anew = anew
        facts = build_once(rows.folder, lambda folder: _sort_by_length(rows, folder))
        lengths, counts = facts["lengths"], facts["counts"]
        self.path, self.total = rows.folder / "rows.bin", sum(counts)
        if unit == "rows" and size > self.total:
            raise ValueError(f"batch.size={size}: there are {self.total} {rows.called} only")
        buckets = [*_divide(lengths, counts, size, unit)]
        if not buckets:
            raise ValueError(f"the split has no {rows.called} with tokens; give data more text")
        self.first_K, self.rows_K, self.batches_K = np.array(buckets).T
        self.before_K = np.cumsum(self.batches_K) - self.batches_K
        self.left = self.total - int(self.rows_K.sum())
        ends = np.cumsum(counts)
        longest_K = np.array(lengths)[np.searchsorted(ends, self.first_K + self.rows_K)]
        read = np.diff(np.minimum(ends, self.total - self.left), prepend=0)
        self.padding = 1 - float(np.dot(read, lengths) / np.dot(self.rows_K, longest_K))

    def __len__(self) -> int:
        """Batches of an epoch."""
        return int(self.batches_K.sum())

    def find_rows(self, step: int, seed: int) -> np.ndarray:
        """The rows of the batch of a step."""
        step = step if self.anew else step % len(self)
        epoch = step // len(self)
        (bucket,), (begin,), (end,) = self._find(np.array([step]), seed)
        first, rows = int(self.first_K[bucket]), int(self.rows_K[bucket])
        own_R = shuffle_rows(np.arange(begin, end) + epoch * rows, rows, hash_pairs(seed, bucket).item())
        order = np.memmap(self.path, _choose_type(self.total), "r")
        return order[first + epoch % (self.left + 1) + own_R].astype(np.int64)

    def count_rows(self, steps_S: np.ndarray, seed: int) -> np.ndarray:
        """The rows of the batches of some steps."""
        _, begin_S, end_S = self._find(steps_S, seed)
        return end_S - begin_S

    def _find(self, steps_S: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The bucket of each step, and which of its rows, once shuffled, its batch begins and ends with."""
        batch_S = shuffle_rows(steps_S if self.anew else steps_S % len(self), len(self), seed)
        bucket_S = np.searchsorted(self.before_K, batch_S, "right") - 1
        turn_S = batch_S - self.before_K[bucket_S]
        rows_S, batches_S = self.rows_K[bucket_S], self.batches_K[bucket_S]
        return bucket_S, turn_S * rows_S // batches_S, (turn_S + 1) * rows_S // batches_S


def _divide(lengths: list[int], counts: list[int], size: int, unit: Unit) -> Iterator[tuple[int, int, int]]:
    """First row, rows and batches of each bucket, of rows in order of length."""
    end = first = 0
    shortest = lengths[0] if lengths else 0
    for at, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        end += count
        most = size if unit == "rows" else size // length
        whole = end // size * size if unit == "rows" else end  # the remainder goes to the next bucket
        last = at + 1 == len(lengths)
        if whole > first and (last or (lengths[at + 1] > SPREAD * shortest and whole - first >= 2 * most)):
            yield first, whole - first, -(-(whole - first) // most)
            first, shortest = whole, lengths[at + 1] if not last else length


def _sort_by_length(rows: PaddedRows, folder: Path) -> Facts:
    """Write the rows that have tokens in order of length; return how many there are of each length."""
    chunks = (np.arange(first, min(first + CHUNK, len(rows))) for first in range(0, len(rows), CHUNK))
    lengths_N = np.concatenate([rows.find_lengths(chunk).astype(np.int32) for chunk in chunks])
    order_N = np.argsort(lengths_N, kind="stable")
    lengths, counts = np.unique(lengths_N[lengths_N > 0], return_counts=True)
    real_N = order_N[len(order_N) - int(counts.sum()) :]
    real_N.astype(_choose_type(len(real_N))).tofile(folder / "rows.bin")
    return {"lengths": lengths.tolist(), "counts": counts.tolist()}


def _choose_type(rows: int) -> type[np.unsignedinteger]:
    return np.uint32 if rows <= 2**32 else np.uint64
