"""Batches for a Lightning trainer: this process's share of each step, from the step the trainer is at."""

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from triad.data.batches import TrainBatches, batch_validation, make_loader
from triad.data.packing import RowReader
from triad.schedules.batch_size import Rule


class Windows(LightningDataModule):
    """Rows of a text; `rule(k)` of them have been consumed when step k begins.

    There is no length and no sampler: a resumed run starts at its step, on any number of processes.
    """

    def __init__(self, train: RowReader, val: RowReader, rule: Rule, seed: int) -> None:
        super().__init__()
        self.train, self.val, self.seed = train, val, seed
        self.rule = rule.of(len(train))

    @property
    def padding(self) -> float | None:
        """The share of all places in rows that no token takes, where it is known."""
        return getattr(self.train, "padding", None)

    def batch_rows(self, step: int) -> int:
        """Sequences in the global batch of a step."""
        return self.rule(step + 1) - self.rule(step)

    def first_row(self, step: int) -> int:
        """Rows consumed before a step."""
        return self.rule(step)

    def find_first(self, step: int) -> int:
        """The position in the order of a step's first row."""
        return self.rule.first(step)

    def count_steps(self, epochs: float) -> dict[str, int]:
        """The steps of so many passes over the rows of training, and how many rows these are."""
        return {"steps": self.rule.count_steps(epochs, len(self.train)), "rows": len(self.train)}

    def train_dataloader(self) -> DataLoader:
        strategy, start = self.trainer.strategy, self.trainer.global_step
        places = strategy.data_rank, strategy.data_ranks
        batches = TrainBatches(self.train, self.batch_rows, self.find_first, self.seed, start, *places)
        return make_loader(batches, strategy.root_device)

    def val_dataloader(self) -> DataLoader:
        strategy = self.trainer.strategy
        places = strategy.data_rank, strategy.data_ranks
        batches = batch_validation(self.val, self.batch_rows(0), *places)
        return make_loader(batches, strategy.root_device)
