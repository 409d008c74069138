"""Batches of pairs, each of neighbouring lengths.

B rows here, R rows of the batch, N pairs, S and U tokens of the longest source and target.
"""

import math
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, IterableDataset

from triad.data.batches import find_worker, make_loader
from triad.data.length_buckets import CHUNK, LengthBuckets, PaddedRows
from triad.data.packing import NOTHING
from triad.data.token_files import TokenFile
from triad.schedules.batch_size import Rule


class PairFile:
    """Documents 2 i and 2 i + 1 of a token file as pair i, without their separators.

    Of each side at most context - 1 tokens are read, a target needs one more, for its end; or as many as
    `longest` says of sources and targets. A pair that is `joined` to one row is as long as both and the end.
    """

    called = "pairs"

    def __init__(
        self,
        tokens: TokenFile,
        context: int,
        separator: int | None,
        longest: tuple[int, int] | None = None,
        joined: bool = False,
    ) -> None:
        usual = context - 1, context - 1
        self.tokens, self.context, self.separators = tokens, context, int(separator is not None)
        self.longest, self.joined = longest or usual, joined
        rows = "-".join(["joined-pairs" if joined else "pairs", *map(str, self.longest)])
        self.folder = name_order(tokens, self.called if self.longest == usual else rows, context)

    def __len__(self) -> int:
        return len(self.tokens.documents) // 2

    def find_spans(self, rows_R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First tokens and lengths of both sides, [R, 2]; those of a row of -1 are none."""
        first_R2, length_R2 = self._find_whole(rows_R)
        return first_R2, np.where(rows_R[:, None] == NOTHING, 0, np.minimum(length_R2, self.longest))

    def _find_whole(self, rows_R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first_R2, end_R2 = self.tokens.spans(2 * np.maximum(rows_R, 0)[:, None] + np.arange(2))
        return first_R2, end_R2 - self.separators - first_R2

    def find_lengths(self, rows_R: np.ndarray) -> np.ndarray:
        length_R2 = self.find_spans(rows_R)[1]
        return length_R2.sum(1) + 1 if self.joined else length_R2.max(1)

    def describe_cut(self) -> str:
        """How many pairs do not fit as a whole; "" where all do."""
        cut = tokens = 0
        for first in range(0, len(self), CHUNK):
            length_R2 = self._find_whole(np.arange(first, min(first + CHUNK, len(self))))[1]
            over_R = np.maximum(length_R2 - self.longest, 0).sum(1)
            cut, tokens = cut + int((over_R > 0).sum()), tokens + int(over_R.sum())
        split = f"{cut:,} of {len(self):,} pairs of the {self.tokens.split} split are cut"
        return f"{split} to context={self.context}, {tokens:,} tokens less" if cut else ""

    def batch(self, rows_R: np.ndarray, rank: int, ranks: int) -> dict[str, Any]:
        """This rank's share of some pairs, as wide as the longest of all; a row of -1 is no pair."""
        first_R2, length_R2 = self.find_spans(rows_R)
        share = len(rows_R) // ranks
        mine = slice(rank * share, (rank + 1) * share)
        source_BS, target_BU = (
            pad_rows(self.tokens.tokens, first_R2[mine, side], length_R2[mine, side], most)
            for side, most in enumerate(length_R2.max(0))
        )
        return {
            "source_BS": torch.from_numpy(source_BS),
            "target_BU": torch.from_numpy(target_BU),
            "rows": int((rows_R != NOTHING).sum()),
            "count": int(length_R2.sum()),
            "lengths_R": torch.from_numpy(length_R2[:, 1]),
            "source_lengths_R": torch.from_numpy(length_R2[:, 0]),
        }


def name_order(tokens: TokenFile, rows: str, context: int) -> Path:
    """Where the order by length of such rows is kept: beside the token file."""
    return tokens.folder.with_name(f"{tokens.folder.name}-{tokens.split}-{rows}-by_length-{context}")


def pad_rows(
    tokens: np.ndarray, firsts_B: np.ndarray, lengths_B: np.ndarray, most: int, fill: int = NOTHING
) -> np.ndarray:
    """Spans of a file as rows of one width, padded."""
    rows = np.full((len(firsts_B), max(int(most), 1)), fill, np.int64)
    for at, (first, length) in enumerate(zip(firsts_B.tolist(), lengths_B.tolist(), strict=True)):
        rows[at, :length] = tokens[first : first + length]
    return rows


class TrainPairs(IterableDataset[dict[str, Any]]):
    """Batch k = what LengthBuckets finds for it, k = start, start + 1 ...

    Each rank reads an even share, of which rows behind the last are nothing; rows, count and lengths are
    those of the whole batch, which is a pure function of (pairs, bound of the batch, seed, k).
    """

    def __init__(
        self, pairs: PaddedRows, buckets: LengthBuckets, seed: int, start: int, rank: int, ranks: int
    ) -> None:
        self.pairs, self.buckets, self.seed, self.start = pairs, buckets, seed, start
        self.rank, self.ranks = rank, ranks

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker, workers = find_worker()
        step = self.start + worker
        while True:
            yield self.batch(step)
            step += workers

    def batch(self, step: int) -> dict[str, Any]:
        """This rank's share of the batch of `step`."""
        rows_R = fill_up(self.buckets.find_rows(step, self.seed), self.ranks)
        return self.pairs.batch(rows_R, self.rank, self.ranks) | {"step": step}


def fill_up(rows_R: np.ndarray, ranks: int) -> np.ndarray:
    """Rows, and behind them as many that are nothing as make their number divide among the ranks."""
    return np.pad(rows_R, (0, -len(rows_R) % ranks), constant_values=NOTHING)


class ValPairs(IterableDataset[dict[str, Any]]):
    """The pairs of validation in their order, each exactly once; rows behind the last are nothing."""

    def __init__(self, pairs: PaddedRows, rows: int, rank: int, ranks: int) -> None:
        self.pairs, self.rows, self.rank, self.ranks = pairs, rows, rank, ranks

    def count_batches(self) -> int:
        """How many there are."""
        return -(-len(self.pairs) // self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        total, (worker, workers) = len(self.pairs), find_worker()
        for step in range(worker, self.count_batches(), workers):
            rows_R = np.arange(step * self.rows, (step + 1) * self.rows)
            rows_R = fill_up(np.where(rows_R < total, rows_R, NOTHING), self.ranks)
            batch = self.pairs.batch(rows_R, self.rank, self.ranks)
            yield batch | {"step": step, "rows": self.rows}


class PaddedBatches(LightningDataModule):
    """Rows that are padded for a Lightning trainer, as Windows are of one text; no row exceeds `context`."""

    def __init__(
        self, train: PaddedRows, val: PaddedRows, context: int, rule: Rule, seed: int, anew: bool = True
    ) -> None:
        super().__init__()
        self.train, self.val, self.rule, self.seed = train, val, rule, seed
        if rule.tokens:
            self.buckets = LengthBuckets(self.train, rule.tokens, "tokens", anew)
            self.val_rows = rule.tokens // context
        else:
            self.buckets = LengthBuckets(self.train, rule(1), "rows", anew)
            self.val_rows = rule(1)

    def prepare_data(self) -> None:
        """Tell once on a machine how many rows are cut; a task tells of its own when it makes them."""
        for rows in (self.train, self.val):
            if said := getattr(rows, "describe_cut", str)():
                print(said, file=sys.stderr)

    @property
    def padding(self) -> float:
        """The share of all places in batches that no token takes, at most."""
        return self.buckets.padding

    def batch_rows(self, step: int) -> int:
        """Rows in the global batch of a step."""
        return int(self.buckets.count_rows(np.array([step]), self.seed)[0])

    def count_steps(self, epochs: float) -> dict[str, int]:
        """The steps of so many passes over the batches of training, and how many rows there are."""
        steps = math.ceil(Fraction(str(epochs)) * len(self.buckets))
        return {"steps": steps, "rows": self.buckets.total}

    def first_row(self, step: int) -> int:
        """Rows consumed before a step."""
        if not self.rule.tokens:
            return self.rule(step)
        epoch = step // len(self.buckets)
        before = self.buckets.count_rows(np.arange(epoch * len(self.buckets), step), self.seed)
        return epoch * self.buckets.total + int(before.sum())

    def train_dataloader(self) -> DataLoader:
        strategy, start = self.trainer.strategy, self.trainer.global_step
        places = strategy.data_rank, strategy.data_ranks
        return make_loader(
            TrainPairs(self.train, self.buckets, self.seed, start, *places), strategy.root_device
        )

    def val_dataloader(self) -> DataLoader:
        strategy = self.trainer.strategy
        batches = ValPairs(self.val, self.val_rows, strategy.data_rank, strategy.data_ranks)
        return make_loader(batches, strategy.root_device)
