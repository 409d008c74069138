"""Batches for a Lightning trainer: this process's share of each step, from the step the trainer is at."""

from collections.abc import Callable

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from triad.data.batches import TrainBatches, ValBatches
from triad.data.tokens import Tokens


class Windows(LightningDataModule):
    """Rows of `context` tokens; `first_row(k)` rows have been consumed when step k begins.

    There is no length and no sampler: a resumed run starts at its step, on any number of processes.
    """

    def __init__(
        self, tokens: Tokens, context: int, first_row: Callable[[int], int], seed: int, packed: bool
    ) -> None:
        super().__init__()
        self.tokens, self.context, self.first_row = tokens, context, first_row
        self.seed, self.packed = seed, packed

    def batch_rows(self, step: int) -> int:
        """Sequences in the global batch of a step."""
        return self.first_row(step + 1) - self.first_row(step)

    def train_dataloader(self) -> DataLoader:
        strategy = self.trainer.strategy
        batches = TrainBatches(
            self.tokens.train,
            self.context,
            self.batch_rows,
            self.first_row,
            self.seed,
            start=self.trainer.global_step,
            rank=strategy.data_rank,
            ranks=strategy.data_ranks,
            packed=self.packed,
        )
        return DataLoader(batches, batch_size=None)

    def val_dataloader(self) -> DataLoader:
        strategy = self.trainer.strategy
        rows = max(1, self.batch_rows(0) // strategy.data_ranks)
        batches = ValBatches(
            self.tokens.val, self.context, rows, strategy.data_rank, strategy.data_ranks, limit=None
        )
        return DataLoader(batches, batch_size=None)
