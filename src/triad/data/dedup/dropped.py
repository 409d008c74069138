"""Which documents are dropped, by split and name, on disk: they may be many."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from triad.data.dedup.sorted_runs import SortedRuns, map_records
from triad.data.sources.source import Split

Key = tuple[Split, str]
ROW = [("hash", "u8"), ("key", "u8"), ("begin", "u8"), ("end", "u8"), ("train", "u1")]
AT_ONCE = 1 << 16  # rows in memory


class DocumentTable:
    """A row for each document that was read: the hash of its text, the split, where its name lies on disk."""

    def __init__(self, workspace: Path) -> None:
        workspace.mkdir(parents=True, exist_ok=True)
        self.workspace, self.size = workspace, 0
        self.rows_file, self.names_file = workspace / "documents", workspace / "names"
        for path in (self.rows_file, self.names_file):
            path.write_bytes(b"")

    def add(self, keys: list[Key], hashes: list[int]) -> None:
        names = [_spell(key) for key in keys]
        rows = np.empty(len(keys), ROW)
        rows["hash"], rows["key"] = hashes, [_digest(name) for name in names]
        rows["train"] = [split == "train" for split, _ in keys]
        lengths = np.cumsum([len(name) for name in names])
        rows["end"] = lengths + self.names_file.stat().st_size
        rows["begin"] = rows["end"] - np.diff(lengths, prepend=0)
        for path, content in ((self.names_file, b"".join(names)), (self.rows_file, rows.tobytes())):
            with path.open("ab") as file:
                file.write(content)
        self.size += len(keys)

    @cached_property
    def rows(self) -> np.ndarray:
        """All rows; to be asked for when the last one has been added."""
        return map_records(self.rows_file, ROW)

    def read_name(self, row: int) -> bytes:
        begin, end = int(self.rows["begin"][row]), int(self.rows["end"][row])
        with self.names_file.open("rb") as file:
            file.seek(begin)
            return file.read(end - begin)


class Duplicates(NamedTuple):
    """What a deduplicator found: the cluster of each document to be dropped, and facts for a manifest."""

    dropped: Mapping[Key, str]
    facts: dict[str, Any]


class Dropped(Mapping[Key, str]):
    """The cluster of each dropped document, by (split, name); a cluster is named by its survivor's hash.

    `found` yields rows of the table and hashes of survivors. Raises ValueError where a name that is dropped
    is also another document's, which would go with it.
    """

    def __init__(self, table: DocumentTable, found: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
        runs = SortedRuns(table.workspace / "dropped.runs", [("key", "u8"), ("row", "u8"), ("cluster", "u8")])
        for rows, clusters in found:
            runs.add(key=table.rows["key"][rows], row=rows, cluster=clusters)
        self.path, self.table, self.counts = table.workspace / "dropped", table, {"train": 0, "val": 0}
        with self.path.open("wb") as file:
            for piece in runs.read():
                piece.tofile(file)
                train = int(table.rows["train"][piece["row"]].sum())
                self.counts["train"] += train
                self.counts["val"] += len(piece) - train
        runs.path.unlink()
        self.records = map_records(self.path, runs.dtype)
        self.clusters = len(np.unique(self.records["cluster"]))
        self._check_names()

    def __len__(self) -> int:
        return sum(self.counts.values())

    def __iter__(self) -> Iterator[Key]:
        return (read_key(self.table.read_name(int(row))) for row in self.records["row"])

    def __getitem__(self, key: Key) -> str:
        for record in self._match(_spell(key)):
            return f"{int(record['cluster']):016x}"
        raise KeyError(key)

    def _match(self, name: bytes) -> Iterator[Any]:
        digest = _digest(name)
        at = bisect_left(self.records["key"], digest)
        while at < len(self.records) and self.records["key"][at] == digest:
            if self.table.read_name(int(self.records["row"][at])) == name:
                yield self.records[at]
            at += 1

    def _check_names(self) -> None:
        if not len(self):
            return
        digests = np.array(self.records["key"])
        for begin in range(0, self.table.size, AT_ONCE):
            keys = self.table.rows["key"][begin : begin + AT_ONCE]
            at = np.searchsorted(digests, keys).clip(max=len(digests) - 1)
            others = self.records["row"][at] != np.arange(begin, begin + len(keys))
            for row in np.flatnonzero((digests[at] == keys) & others) + begin:
                name = self.table.read_name(int(row))
                same = [int(record["row"]) for record in self._match(name)]
                if same and row not in same:
                    split, document = read_key(name)
                    raise ValueError(
                        f"data: two documents of the {split} split are named {document!r} and one of them "
                        "is a duplicate to be dropped; give their files different names"
                    )


def digest_text(text: str) -> bytes:
    """128 bits that stand for a text."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def hash_text(text: str) -> int:
    """The first 64 bits of them: a text with the smallest survives."""
    return int.from_bytes(digest_text(text)[:8], "big")


def _spell(key: Key) -> bytes:
    split, name = key
    return f"{split} {name}".encode("utf-8", "surrogateescape")


def read_key(name: bytes) -> Key:
    split, _, document = name.decode("utf-8", "surrogateescape").partition(" ")
    return ("train" if split == "train" else "val"), document


def _digest(name: bytes) -> int:
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big")
