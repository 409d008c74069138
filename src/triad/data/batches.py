"""Batches of rows for a DataLoader with batch_size=None. B rows of this rank, R of all, T context."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from triad.data.packing import CHUNK, NOTHING, RowReader


def make_loader(batches: IterableDataset, device: torch.device) -> DataLoader:
    """A loader of whole batches; pinned for a GPU, which an unpinned copy would keep the host waiting for."""
    return DataLoader(batches, batch_size=None, pin_memory=device.type == "cuda")


class TrainBatches(IterableDataset[dict[str, Any]]):
    """Batch k = rows first_row(k) ... first_row(k) + batch_rows(k) - 1 of the order, k = start, start + 1 ...

    Each rank yields its even share of what `rows.read` gives, and step; rows, and what `rows.measure` gives,
    are those of the whole batch. There is no end: epoch follows epoch, each shuffled anew. The batch depends
    on (rows, seed, k) alone, neither on the ranks nor on the DataLoader's workers.
    """

    def __init__(
        self,
        rows: RowReader,
        batch_rows: Callable[[int], int],
        first_row: Callable[[int], int],
        seed: int,
        start: int,
        rank: int,
        ranks: int,
    ) -> None:
        self.rows, self.seed, self.start = rows, seed, start
        self.batch_rows, self.first_row = batch_rows, first_row
        self.rank, self.ranks = rank, ranks
        len(rows)  # or say that the corpus is too short
        _divide_rows(batch_rows(start), ranks)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker, workers = find_worker()
        step = self.start + worker
        while True:
            yield self.batch(step)
            step += workers

    def batch(self, step: int) -> dict[str, Any]:
        """This rank's share of the batch of `step`."""
        rows, first = self.batch_rows(step), self.first_row(step)
        share = _divide_rows(rows, self.ranks)
        places_R = self.rows.locate(np.arange(first, first + rows), self.seed)
        places_B = places_R[self.rank * share : (self.rank + 1) * share]
        return self.rows.read(places_B) | {"step": step, "rows": rows} | self.rows.measure(places_R)


class ValBatches(IterableDataset[dict[str, Any]]):
    """The rows of validation in order, of the kind that training has.

    All ranks yield `batches` batches of `rows_per_batch` rows, as collective operations need: places behind
    the end of a row, and rows behind the last, hold the token -1 and the target -100. `count` is the number
    of real targets of this rank in this batch.
    """

    def __init__(
        self, rows: RowReader, rows_per_batch: int, rank: int, ranks: int, limit: int | None
    ) -> None:
        self.rows, self.rows_per_batch = rows, rows_per_batch
        self.rank, self.ranks = rank, ranks
        self.places = rows.list_places()
        chunks = np.array_split(self.places, len(self.places) // CHUNK + 1)
        if not any(rows.measure(chunk)["count"] for chunk in chunks):
            raise ValueError("the val split has no token to predict; give data more text")
        batches = -(-len(self.places) // (rows_per_batch * ranks))
        self.batches = batches if limit is None else min(batches, limit)

    def count_batches(self) -> int:
        """How many each rank yields; no `__len__`, which Lightning warns of."""
        return self.batches

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker, workers = find_worker()
        for step in range(worker, self.batches, workers):
            yield self.batch(step)

    def batch(self, step: int) -> dict[str, Any]:
        """This rank's rows of batch `step`; rows are dealt in order, rank after rank."""
        first = (step * self.ranks + self.rank) * self.rows_per_batch
        mine = self.places[first : first + self.rows_per_batch]
        places_B = np.pad(mine, (0, self.rows_per_batch - len(mine)), constant_values=NOTHING)
        return self.rows.read(places_B) | {
            "step": step,
            "rows": self.rows_per_batch * self.ranks,
            "count": self.rows.measure(places_B)["count"],
        }


def batch_validation(rows: RowReader, batch_rows: int, rank: int, ranks: int) -> ValBatches:
    """All of validation, in batches of as many rows as a step of training has, or of all that there are."""
    some = -(-len(rows.list_places()) // ranks)
    return ValBatches(rows, max(1, min(batch_rows // ranks, some)), rank, ranks, limit=None)


def _divide_rows(rows: int, ranks: int) -> int:
    if rows < 1 or rows % ranks:
        raise ValueError(
            f"batch of {rows} rows: does not divide among {ranks} ranks; choose a multiple of {ranks}"
        )
    return rows // ranks


def find_worker() -> tuple[int, int]:
    """This DataLoader worker and their number; they take steps in turn, so the order is that of one."""
    info = get_worker_info()
    return (0, 1) if info is None else (info.id, info.num_workers)
