"""Batches for a Lightning trainer: this process's share of each step, from the step the trainer is at."""

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from triad.data.batches import TrainBatches, ValBatches, locate_validation, make_loader
from triad.data.shuffle import count_windows
from triad.data.token_files import Tokens
from triad.schedules.batch_size import Rule


class Windows(LightningDataModule):
    """Rows of `context` tokens; `rule(k)` rows have been consumed when step k begins.

    There is no length and no sampler: a resumed run starts at its step, on any number of processes.
    """

    def __init__(self, tokens: Tokens, context: int, rule: Rule, seed: int, packed: bool) -> None:
        super().__init__()
        self.tokens, self.context, self.seed, self.packed = tokens, context, seed, packed
        train = tokens.train
        self.rule = rule.of(count_windows(len(train.tokens), context) if packed else len(train.documents))

    def batch_rows(self, step: int) -> int:
        """Sequences in the global batch of a step."""
        return self.rule(step + 1) - self.rule(step)

    def first_row(self, step: int) -> int:
        """Rows consumed before a step."""
        return self.rule(step)

    def train_dataloader(self) -> DataLoader:
        strategy = self.trainer.strategy
        batches = TrainBatches(
            self.tokens.train,
            self.context,
            self.batch_rows,
            self.rule.first,
            self.seed,
            start=self.trainer.global_step,
            rank=strategy.data_rank,
            ranks=strategy.data_ranks,
            packed=self.packed,
        )
        return make_loader(batches, strategy.root_device)

    def val_dataloader(self) -> DataLoader:
        strategy = self.trainer.strategy
        every = len(locate_validation(self.tokens.val, self.context, self.packed).starts)
        some = -(-every // strategy.data_ranks)  # all that there is
        rows = max(1, min(self.batch_rows(0) // strategy.data_ranks, some))
        batches = ValBatches(
            self.tokens.val,
            self.context,
            rows,
            strategy.data_rank,
            strategy.data_ranks,
            limit=None,
            packed=self.packed,
        )
        return make_loader(batches, strategy.root_device)
