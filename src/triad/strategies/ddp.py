"""Data parallelism with a whole model in every process."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import cast

from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from triad.optim.gradient import Gradient
from triad.strategies.state import tensors


class DDP(DDPStrategy):
    """Each process takes its rows; gradients are averaged while the last micro-batch runs backward.

    Li et al. 2020, arXiv:2006.15704. `gradient_scale` undoes the average: what is wanted is the sum.
    """

    pipeline = None
    tensors = staticmethod(tensors)  # of a checkpoint

    def __init__(self) -> None:
        super().__init__(gradient_as_bucket_view=True)

    @property
    def data_rank(self) -> int:
        return self.global_rank

    @property
    def data_ranks(self) -> int:
        return self.world_size

    @property
    def gradient_scale(self) -> int:
        return self.world_size

    def parallelize(self, model: nn.Module) -> None:
        """Nothing to split: Lightning wraps the task in DistributedDataParallel."""

    def micro_batch(self, last: bool) -> AbstractContextManager:
        """Gradients accumulate locally until the last micro-batch sends them."""
        model = cast(DistributedDataParallel, self.model)
        return nullcontext() if last else model.no_sync()

    def clip(self, model: nn.Module, rule: Callable[[Gradient], Tensor]) -> Tensor:
        """Apply a rule, such as clipping, to the gradient, whole in every process; return its norm before."""
        return rule(Gradient(model))

    def all_reduce(self, share: Tensor) -> Tensor:
        """The sum over all processes."""
        return self.reduce(share.clone(), reduce_op="sum")

    def full_model(self, model: nn.Module) -> nn.Module:
        """The model, for calls with whole sequences, as in generation."""
        return model
