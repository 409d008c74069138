"""Data parallelism with a whole model in every process."""

from contextlib import AbstractContextManager, nullcontext
from typing import cast

from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel


class DDP(DDPStrategy):
    """Each process takes its rows; gradients are averaged while the last micro-batch runs backward.

    Li et al. 2020, arXiv:2006.15704. The average over R ranks is why the task multiplies its share of the
    loss by R.
    """

    def __init__(self) -> None:
        super().__init__(gradient_as_bucket_view=True, broadcast_buffers=False)

    @property
    def data_rank(self) -> int:
        return self.global_rank

    @property
    def data_ranks(self) -> int:
        return self.world_size

    def parallelize(self, model: nn.Module) -> None:
        """Nothing to split: Lightning wraps the task in DistributedDataParallel."""

    def micro_batch(self, last: bool) -> AbstractContextManager:
        """Gradients accumulate locally until the last micro-batch sends them."""
        model = cast(DistributedDataParallel, self.model)
        return nullcontext() if last else model.no_sync()
