"""Records sorted on disk: runs that fit into memory, merged by ranges of keys."""

from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

AT_ONCE = 1 << 18  # records in memory


class SortedRuns:
    """Records with a 64-bit `key`, added in any order and read in the order of their keys.

    Records of one key stay in the order in which they were added. Memory does not grow with their number.
    """

    def __init__(self, path: Path, dtype: list[tuple[str, str]], at_once: int = AT_ONCE) -> None:
        self.path, self.dtype, self.at_once = path, np.dtype(dtype), at_once
        self.held: list[np.ndarray] = []
        self.ends = [0]
        path.write_bytes(b"")

    def add(self, **columns: np.ndarray) -> None:
        records: Any = np.empty(len(columns["key"]), self.dtype)
        for name, column in columns.items():
            records[name] = column
        self.held.append(records)
        if sum(map(len, self.held)) >= self.at_once:
            self.close()

    def close(self) -> None:
        """Sort what is in memory and write it."""
        if self.held:
            records = _sort(np.concatenate(self.held))
            with self.path.open("ab") as file:
                records.tofile(file)
            self.ends.append(self.ends[-1] + len(records))
            self.held = []

    def read(self) -> Iterator[np.ndarray]:
        """Sorted pieces of at most `at_once` records; only a key that has more than that is in several."""
        self.close()
        if self.ends[-1]:
            file = map_records(self.path, self.dtype)
            runs = [file[begin:end] for begin, end in zip(self.ends, self.ends[1:], strict=False)]
            yield from self._merge(runs, 0, 2**64)

    def _merge(self, runs: list[np.ndarray], low: int, high: int) -> Iterator[np.ndarray]:
        parts = [part for run in runs if len(part := _slice(run, low, high))]
        if high - low == 1:
            for part in parts:
                yield from (
                    np.array(part[at : at + self.at_once]) for at in range(0, len(part), self.at_once)
                )
        elif sum(map(len, parts)) > self.at_once:
            middle = (low + high) // 2
            yield from self._merge(parts, low, middle)
            yield from self._merge(parts, middle, high)
        elif parts:
            yield _sort(np.concatenate(parts))


def map_records(path: Path, dtype: Any, mode: Literal["r", "r+"] = "r") -> np.ndarray:
    """The records of a file, which may be empty, read as they are needed."""
    return np.asarray(np.memmap(path, dtype, mode)) if path.stat().st_size else np.empty(0, dtype)


def _sort(records: np.ndarray) -> np.ndarray:
    return records[np.argsort(records["key"], kind="stable")]


def _slice(run: np.ndarray, low: int, high: int) -> np.ndarray:
    keys = run["key"]
    begin = bisect_left(keys, low) if low else 0
    return run[begin : bisect_left(keys, high) if high < 2**64 else len(keys)]
