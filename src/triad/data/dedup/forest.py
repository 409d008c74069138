"""Connected components of documents, on disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from triad.data.dedup.sorted_runs import map_records

AT_ONCE = 1 << 20  # documents in memory


class Forest:
    """Union-find whose root is the first document of its component (Tarjan 1975, with path halving).

    `order` gives what documents are compared by.
    """

    def __init__(self, path: Path, size: int, order: Callable[[int], Any]) -> None:
        with path.open("wb") as file:
            for begin in range(0, size, AT_ONCE):
                np.arange(begin, min(begin + AT_ONCE, size), dtype=np.uint64).tofile(file)
        self.parents, self.order = map_records(path, np.uint64, "r+"), order

    def find(self, document: int) -> int:
        parents = self.parents
        while (parent := int(parents[document])) != document:
            parents[document] = parents[parent]
            document = int(parents[document])
        return document

    def unite(self, a: int, b: int) -> None:
        first, second = sorted((self.find(a), self.find(b)), key=self.order)
        self.parents[second] = first

    def roots(self, begin: int, end: int) -> np.ndarray:
        """The roots of the documents from one to another."""
        found = self.parents[begin:end]
        while (found != (above := self.parents[found])).any():
            found = above
        return found
