"""Batches of pairs, each of neighbouring lengths.

B rows here, R rows of the batch, N pairs, S and U tokens of the longest source and target.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, IterableDataset

from triad.data.batches import make_loader
from triad.data.packing import NOTHING
from triad.data.shuffle import shuffle_rows
from triad.data.token_files import TokenFile, Tokens

JITTER = 0.2  # of a length: whose neighbour a pair is differs between epochs


class PairFile:
    """Documents 2 i and 2 i + 1 of a token file as pair i, without their separators.

    Of each side at most context - 1 tokens are read: a target needs one more, for its end.
    """

    called = "pairs"

    def __init__(self, tokens: TokenFile, context: int, separator: int | None) -> None:
        self.tokens = tokens
        firsts, ends = tokens.spans(np.arange(len(tokens.documents)))
        ends -= separator is not None
        self.firsts_N2 = firsts.reshape(-1, 2)
        self.lengths_N2 = np.minimum(ends - firsts, context - 1).reshape(-1, 2)
        self.longest_N = self.lengths_N2.max(1)

    def __len__(self) -> int:
        return len(self.firsts_N2)

    def batch(self, rows_R: np.ndarray, rank: int, ranks: int) -> dict[str, Any]:
        """This rank's share of some pairs, as wide as the longest of all; a row of -1 is no pair."""
        lengths_R2 = np.where(rows_R[:, None] >= 0, self.lengths_N2[rows_R], 0)
        share = len(rows_R) // ranks
        mine = slice(rank * share, (rank + 1) * share)
        sides = [
            self._side(side, rows_R[mine], lengths_R2[mine, side], int(lengths_R2[:, side].max()))
            for side in (0, 1)
        ]
        return {
            "source_BS": torch.from_numpy(sides[0]),
            "target_BU": torch.from_numpy(sides[1]),
            "rows": len(rows_R),
            "count": int(lengths_R2.sum()),
            "lengths_R": torch.from_numpy(lengths_R2[:, 1]),
            "source_lengths_R": torch.from_numpy(lengths_R2[:, 0]),
        }

    def _side(self, side: int, rows_B: np.ndarray, lengths_B: np.ndarray, most: int) -> np.ndarray:
        return pad_rows(self.tokens.tokens, self.firsts_N2[rows_B, side], lengths_B, most)


def pad_rows(tokens: np.ndarray, firsts_B: np.ndarray, lengths_B: np.ndarray, most: int) -> np.ndarray:
    """Spans of a token file as rows of one width, padded with NOTHING."""
    rows = np.full((len(firsts_B), max(most, 1)), NOTHING, np.int64)
    for at, (first, length) in enumerate(zip(firsts_B.tolist(), lengths_B.tolist(), strict=True)):
        rows[at, :length] = tokens[first : first + length]
    return rows


class TrainPairs(IterableDataset[dict[str, Any]]):
    """Batch k = R neighbours among the pairs in order of length, k = start, start + 1 ...

    Each epoch orders anew, by length x (1 + a little noise), leaves out a remainder that fills no batch at
    another place, and takes its batches in another order. With shuffle="once" the orders are those of the
    first epoch, with "repeat" all is. A batch is a pure function of (pairs, seed, k).
    """

    def __init__(
        self,
        pairs: Any,
        batch_rows: Callable[[int], int],
        seed: int,
        start: int,
        rank: int,
        ranks: int,
        shuffle: str = "every_epoch",
    ) -> None:
        self.shuffle = shuffle
        self.pairs, self.batch_rows, self.seed, self.start = pairs, batch_rows, seed, start
        self.rank, self.ranks = rank, ranks
        self.ordered: tuple[int, Any] = (-1, None)  # epoch, and its pairs in order of length
        if batch_rows(start) > len(pairs):
            raise ValueError(f"batch.size={batch_rows(start)}: there are {len(pairs)} {pairs.called} only")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        step = self.start
        while True:
            yield self.batch(step)
            step += 1

    def batch(self, step: int) -> dict[str, Any]:
        """This rank's share of the batch of `step`."""
        rows, total = self.batch_rows(step), len(self.pairs)
        batches = total // rows
        place = step if self.shuffle == "every_epoch" else step % batches
        order_N, left = self._order(place // batches), total - batches * rows
        first = int(shuffle_rows(np.array([place]), batches, self.seed)[0]) * rows
        first += ((place if self.shuffle == "repeat" else step) // batches) % (left + 1)
        return self.pairs.batch(order_N[first : first + rows], self.rank, self.ranks) | {"step": step}

    def _order(self, epoch: int) -> np.ndarray:
        if self.ordered[0] != epoch:
            noise_N = np.random.default_rng([self.seed, epoch]).random(len(self.pairs))
            self.ordered = epoch, np.argsort(self.pairs.longest_N * (1 + JITTER * noise_N), kind="stable")
        return self.ordered[1]


class ValPairs(IterableDataset[dict[str, Any]]):
    """The pairs of validation in their order, each exactly once; rows behind the last are nothing."""

    def __init__(self, pairs: Any, rows: int, rank: int, ranks: int) -> None:
        self.pairs, self.rows, self.rank, self.ranks = pairs, rows, rank, ranks

    def __iter__(self) -> Iterator[dict[str, Any]]:
        total = len(self.pairs)
        for step in range(-(-total // self.rows)):
            rows_R = np.arange(step * self.rows, (step + 1) * self.rows)
            batch = self.pairs.batch(np.where(rows_R < total, rows_R, -1), self.rank, self.ranks)
            yield batch | {"step": step}


class Pairs(LightningDataModule):
    """Pairs for a Lightning trainer, as Windows are of one text; `context` bounds both sides."""

    rows_of: type = PairFile  # or another file of rows that are padded

    def __init__(
        self,
        tokens: Tokens,
        context: int,
        first_row: Callable[[int], int],
        seed: int,
        separator: int | None,
        shuffle: str,
    ) -> None:
        super().__init__()
        self.first_row, self.seed, self.shuffle = first_row, seed, shuffle
        self.train, self.val = (self.rows_of(file, context, separator) for file in (tokens.train, tokens.val))

    def batch_rows(self, step: int) -> int:
        """Pairs in the global batch of a step."""
        return self.first_row(step + 1) - self.first_row(step)

    def train_dataloader(self) -> DataLoader:
        strategy, start = self.trainer.strategy, self.trainer.global_step
        places = strategy.data_rank, strategy.data_ranks
        batches = TrainPairs(self.train, self.batch_rows, self.seed, start, *places, self.shuffle)
        return make_loader(batches, strategy.root_device)

    def val_dataloader(self) -> DataLoader:
        strategy = self.trainer.strategy
        places = strategy.data_rank, strategy.data_ranks
        return make_loader(ValPairs(self.val, self.batch_rows(0), *places), strategy.root_device)
