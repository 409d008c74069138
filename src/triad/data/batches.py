"""Batches of tokens for a DataLoader with batch_size=None. B rows, T context."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from triad.data.order import count_windows, start_of
from triad.data.tokens import TokenFile

IGNORED = -100  # the target that cross entropy leaves out


class TrainBatches(IterableDataset[dict[str, Any]]):
    """Batch k = rows first_row(k) ... first_row(k) + batch_rows(k) - 1 of the order, k = start, start + 1 ...

    Each rank yields its even share: tokens_BT, targets_BT and step; rows and count (of targets) are those of
    the whole batch. There is no end: epoch follows epoch, each shuffled anew. The batch depends on (tokens,
    context, seed, k) alone, neither on the ranks nor on the DataLoader's workers.
    """

    def __init__(
        self,
        tokens: TokenFile,
        context: int,
        batch_rows: Callable[[int], int],
        first_row: Callable[[int], int],
        seed: int,
        start: int,
        rank: int,
        ranks: int,
    ) -> None:
        self.tokens, self.context, self.seed, self.start = tokens, context, seed, start
        self.batch_rows, self.first_row = batch_rows, first_row
        self.rank, self.ranks = rank, ranks
        count_windows(len(tokens.tokens), context)  # or say that the corpus is too short
        _share(batch_rows(start), ranks)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker, workers = _worker()
        step = self.start + worker
        while True:
            yield self.batch(step)
            step += workers

    def batch(self, step: int) -> dict[str, Any]:
        """This rank's share of the batch of `step`."""
        rows = self.batch_rows(step)
        share = _share(rows, self.ranks)
        first = self.first_row(step) + self.rank * share
        tokens = self.tokens.tokens
        starts = start_of(np.arange(first, first + share), len(tokens), self.context, self.seed)
        # a view of every possible window, so that each row is copied in one piece
        ids_BT = np.lib.stride_tricks.sliding_window_view(tokens, self.context + 1)[starts]
        return {
            "tokens_BT": torch.from_numpy(ids_BT[:, :-1].astype(np.int64)),
            "targets_BT": torch.from_numpy(ids_BT[:, 1:].astype(np.int64)),
            "step": step,
            "rows": rows,
            "count": rows * self.context,
        }


class ValBatches(IterableDataset[dict[str, Any]]):
    """The validation tokens in order, each but the very first predicted exactly once.

    All ranks yield `batches` batches of `rows_per_batch` rows, as collective operations need: places beyond
    the end, in the last window and in whole rows, hold the target -100. `count` is the number of real targets
    of this rank in this batch.
    """

    def __init__(
        self, tokens: TokenFile, context: int, rows_per_batch: int, rank: int, ranks: int, limit: int | None
    ) -> None:
        if len(tokens.tokens) < 2:
            raise ValueError("the val split has fewer than 2 tokens; give data more text")
        self.tokens, self.context, self.rows_per_batch = tokens, context, rows_per_batch
        self.rank, self.ranks = rank, ranks
        batches = -(-(len(tokens.tokens) - 1) // (context * rows_per_batch * ranks))
        self.batches = batches if limit is None else min(batches, limit)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker, workers = _worker()
        for step in range(worker, self.batches, workers):
            yield self.batch(step)

    def batch(self, step: int) -> dict[str, Any]:
        """This rank's rows of batch `step`; rows are dealt in order, rank after rank."""
        shape = (self.rows_per_batch, self.context)
        size = self.rows_per_batch * self.context
        first = (step * self.ranks + self.rank) * size
        ids = self.tokens.tokens[first : first + size + 1].astype(np.int64)
        count = max(len(ids) - 1, 0)
        tokens, targets = np.zeros(size, np.int64), np.full(size, IGNORED)
        tokens[:count], targets[:count] = ids[:-1], ids[1:]
        return {
            "tokens_BT": torch.from_numpy(tokens.reshape(shape)),
            "targets_BT": torch.from_numpy(targets.reshape(shape)),
            "step": step,
            "rows": self.rows_per_batch * self.ranks,
            "count": count,
        }


def _share(rows: int, ranks: int) -> int:
    if rows < 1 or rows % ranks:
        raise ValueError(
            f"batch of {rows} rows: does not divide among {ranks} ranks; choose a multiple of {ranks}"
        )
    return rows // ranks


def _worker() -> tuple[int, int]:
    """This DataLoader worker and their number; they take steps in turn, so the order is that of one."""
    info = get_worker_info()
    return (0, 1) if info is None else (info.id, info.num_workers)
