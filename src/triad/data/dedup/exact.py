"""Exact duplicates, found by a hash of the text."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from triad.data.dedup.dropped import DocumentTable, Dropped, Duplicates, digest_text, hash_text
from triad.data.dedup.sorted_runs import SortedRuns
from triad.data.sources.source import Split

AT_ONCE = 1 << 12  # documents
NORMALISATIONS = {
    "none": lambda text: text,
    "blanks": lambda text: " ".join(text.split()),
    "case": lambda text: " ".join(text.casefold().split()),
}


class ExactDuplicates:
    """Of documents with the same text, keep one: 128 bits of blake2b are compared.

    `normalisation` says what the same is: "none", every character; "blanks", runs of blanks are one; "case",
    nor does case count. Of such texts the one with the smallest hash stays, whatever the order.
    Validation keeps one document of a text, training keeps none of a text that validation has. Memory holds a
    run of records; 24 bytes for each document, its name and a row of 33 lie in the workspace.
    """

    def __init__(self, normalisation: Literal["none", "blanks", "case"]) -> None:
        if normalisation not in NORMALISATIONS:
            raise ValueError(
                f"dedup.normalisation={normalisation}: must be one of {', '.join(NORMALISATIONS)}"
            )
        self.normalisation = normalisation

    def find_dropped(
        self, documents: Callable[[], Iterable[tuple[Split, str, str]]], workspace: Path
    ) -> Duplicates:
        table = DocumentTable(workspace)
        texts = SortedRuns(workspace / "texts", [("key", "u8"), ("rest", "u8"), ("row", "u8")])
        stream = iter(documents())
        while batch := list(islice(stream, AT_ONCE)):
            hashes = np.array([self._hash(text) for _, _, text in batch], np.uint64)
            train = np.array([split == "train" for split, _, _ in batch], np.uint64)
            rows = np.arange(table.size, table.size + len(batch))
            # the lowest bit says the split: validation comes first
            texts.add(key=hashes[:, 0] & ~np.uint64(1) | train, rest=hashes[:, 1], row=rows)
            table.add([(split, name) for split, name, _ in batch], [hash_text(text) for _, _, text in batch])
        texts.close()
        disk = sum(path.stat().st_size for path in workspace.iterdir())
        dropped = Dropped(table, find_repeated(texts, table))
        texts.path.unlink()
        facts = {"documents": table.size, "dropped": dropped.counts, "clusters": dropped.clusters}
        return Duplicates(dropped, facts | {"disk_bytes": disk})

    def _hash(self, text: str) -> tuple[int, int]:
        digest = digest_text(NORMALISATIONS[self.normalisation](text))
        return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")


def find_repeated(texts: SortedRuns, table: DocumentTable) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of documents whose text another document keeps, and the hash of that one as it is written."""
    last, survivor = (-1, -1), 0
    for piece in texts.read():
        text, rest, rows = piece["key"] >> np.uint64(1), piece["rest"], piece["row"]
        train, written = piece["key"] & np.uint64(1), table.rows["hash"][rows]
        order = np.lexsort((rows, written, train, rest, text))
        text, rest, rows, written = text[order], rest[order], rows[order], written[order]
        new = np.ones(len(rows), bool)
        new[1:] = (text[1:] != text[:-1]) | (rest[1:] != rest[:-1])
        clusters = written[np.maximum.accumulate(np.where(new, np.arange(len(rows)), 0))]
        if (text[0], rest[0]) == last:  # more copies than a piece of the sorted records holds
            begun = slice(0, int(np.argmax(new[1:])) + 1 if new[1:].any() else len(rows))
            clusters[begun], new[0] = survivor, False
        yield rows[~new], clusters[~new]
        last, survivor = (text[-1], rest[-1]), clusters[-1]
