"""Batches of tokens for a DataLoader with batch_size=None. B rows, T context."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from triad.data.shuffle import count_windows, find_starts, shuffle_rows
from triad.data.token_files import TokenFile

IGNORED = -100  # the target that cross entropy leaves out
NOTHING = -1  # in the place of a token, where a row has ended


def make_loader(batches: IterableDataset, device: torch.device) -> DataLoader:
    """A loader of whole batches; pinned for a GPU, which an unpinned copy would keep the host waiting for."""
    return DataLoader(batches, batch_size=None, pin_memory=device.type == "cuda")


class Spans(NamedTuple):
    """For each row the position of its first token, and how many tokens it predicts."""

    starts: np.ndarray
    targets: np.ndarray


def locate_rows(tokens: TokenFile, rows: np.ndarray, context: int, seed: int, packed: bool) -> Spans:
    """What some rows of the infinite order read: windows of the corpus, or one document each.

    Packed rows run on over the ends of documents, whose tokens see each other there, and are always full.
    Otherwise row i is a document, cut off after `context` targets; each document comes once in an epoch,
    shuffled like the windows.
    """
    if packed:
        starts = find_starts(rows, len(tokens.tokens), context, seed)
        return Spans(starts, np.full(len(rows), context))
    return _cut_documents(tokens, shuffle_rows(rows, len(tokens.documents), seed), context)


def locate_validation(tokens: TokenFile, context: int, packed: bool) -> Spans:
    """All rows of validation, of the same kind as those of training, in the order of the text.

    Packed rows follow one another, so that each token but the very first is predicted once; the last one may
    be shorter.
    """
    if not packed:
        return _cut_documents(tokens, np.arange(len(tokens.documents)), context)
    starts = np.arange(0, len(tokens.tokens) - 1, context)
    return Spans(starts, np.minimum(len(tokens.tokens) - 1 - starts, context))


def _cut_documents(tokens: TokenFile, chosen: np.ndarray, context: int) -> Spans:
    """Some documents, each from its first token on, of at most `context` targets."""
    starts, ends = tokens.spans(chosen)
    return Spans(starts, np.clip(ends - starts - 1, 0, context))


def read_rows(tokens: TokenFile, spans: Spans, context: int) -> dict[str, torch.Tensor]:
    """tokens_BT and targets_BT of some rows; behind a row's end they are NOTHING and IGNORED."""
    shape = (len(spans.starts), context)
    tokens_BT, targets_BT = np.full(shape, NOTHING), np.full(shape, IGNORED)
    for row, (start, length) in enumerate(zip(*spans, strict=True)):
        tokens_BT[row, :length] = tokens.tokens[start : start + length]
        targets_BT[row, :length] = tokens.tokens[start + 1 : start + length + 1]
    return {"tokens_BT": torch.from_numpy(tokens_BT), "targets_BT": torch.from_numpy(targets_BT)}


class TrainBatches(IterableDataset[dict[str, Any]]):
    """Batch k = rows first_row(k) ... first_row(k) + batch_rows(k) - 1 of the order, k = start, start + 1 ...

    Each rank yields its even share: tokens_BT, targets_BT (-1 and -100 behind the end of a document that is
    not packed) and step; rows, count (of targets) and lengths_R (targets of each row) are those of the whole
    batch. There is no end: epoch follows epoch, each shuffled anew. The batch depends on (tokens, context,
    seed, k) alone, neither on the ranks nor on the DataLoader's workers.
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
        packed: bool = True,
    ) -> None:
        self.tokens, self.context, self.seed, self.start, self.packed = tokens, context, seed, start, packed
        self.batch_rows, self.first_row = batch_rows, first_row
        self.rank, self.ranks = rank, ranks
        count_windows(len(tokens.tokens), context)  # or say that the corpus is too short
        _divide_rows(batch_rows(start), ranks)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker, workers = _find_worker()
        step = self.start + worker
        while True:
            yield self.batch(step)
            step += workers

    def batch(self, step: int) -> dict[str, Any]:
        """This rank's share of the batch of `step`."""
        rows, first = self.batch_rows(step), self.first_row(step)
        share = _divide_rows(rows, self.ranks)
        every = locate_rows(self.tokens, np.arange(first, first + rows), self.context, self.seed, self.packed)
        mine = slice(self.rank * share, (self.rank + 1) * share)
        return self._read(Spans(every.starts[mine], every.targets[mine])) | {
            "step": step,
            "rows": rows,
            "count": int(every.targets.sum()),
            "lengths_R": torch.from_numpy(every.targets),
        }

    def _read(self, spans: Spans) -> dict[str, torch.Tensor]:
        if not self.packed:
            return read_rows(self.tokens, spans, self.context)
        # a view of every possible window, so that each row is copied in one piece
        windows = np.lib.stride_tricks.sliding_window_view(self.tokens.tokens, self.context + 1)
        sides = {"tokens_BT": windows[spans.starts, :-1], "targets_BT": windows[spans.starts, 1:]}
        return {name: torch.from_numpy(ids_BT.astype(np.int64)) for name, ids_BT in sides.items()}


class ValBatches(IterableDataset[dict[str, Any]]):
    """The rows of validation in order, of the kind that training has: see locate_validation.

    All ranks yield `batches` batches of `rows_per_batch` rows, as collective operations need: places behind
    the end of a row, and rows behind the last, hold the token -1 and the target -100. `count` is the number
    of real targets of this rank in this batch.
    """

    def __init__(
        self,
        tokens: TokenFile,
        context: int,
        rows_per_batch: int,
        rank: int,
        ranks: int,
        limit: int | None,
        packed: bool = True,
    ) -> None:
        self.tokens, self.context, self.rows_per_batch = tokens, context, rows_per_batch
        self.rank, self.ranks = rank, ranks
        self.spans = locate_validation(tokens, context, packed)
        if not self.spans.targets.any():
            raise ValueError("the val split has no token to predict; give data more text")
        batches = -(-len(self.spans.starts) // (rows_per_batch * ranks))
        self.batches = batches if limit is None else min(batches, limit)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker, workers = _find_worker()
        for step in range(worker, self.batches, workers):
            yield self.batch(step)

    def batch(self, step: int) -> dict[str, Any]:
        """This rank's rows of batch `step`; rows are dealt in order, rank after rank."""
        first = (step * self.ranks + self.rank) * self.rows_per_batch
        mine = [part[first : first + self.rows_per_batch] for part in self.spans]
        spans = Spans(*(np.pad(part, (0, self.rows_per_batch - len(part))) for part in mine))
        return read_rows(self.tokens, spans, self.context) | {
            "step": step,
            "rows": self.rows_per_batch * self.ranks,
            "count": int(spans.targets.sum()),
        }


def _divide_rows(rows: int, ranks: int) -> int:
    if rows < 1 or rows % ranks:
        raise ValueError(
            f"batch of {rows} rows: does not divide among {ranks} ranks; choose a multiple of {ranks}"
        )
    return rows // ranks


def _find_worker() -> tuple[int, int]:
    """This DataLoader worker and their number; they take steps in turn, so the order is that of one."""
    info = get_worker_info()
    return (0, 1) if info is None else (info.id, info.num_workers)
