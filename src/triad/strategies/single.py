"""One process on one device: the reference for every other layout."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from lightning.pytorch.accelerators import CUDAAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn

from triad.optim.gradient import Gradient
from triad.strategies.state import tensors


class Single(SingleDeviceStrategy):
    """The whole model and the whole batch on one device."""

    processes = 1
    data_rank = 0
    data_ranks = 1
    gradient_scale = 1
    pipeline = None
    tensors = staticmethod(tensors)  # of a checkpoint

    def __init__(self) -> None:
        super().__init__()

    @property
    def root_device(self) -> torch.device:
        return (
            torch.device("cuda", 0) if isinstance(self.accelerator, CUDAAccelerator) else torch.device("cpu")
        )

    def parallelize(self, model: nn.Module) -> None:
        """Nothing to split."""

    def micro_batch(self, last: bool) -> AbstractContextManager:
        """Nothing to synchronise."""
        return nullcontext()

    def clip(self, model: nn.Module, rule: Callable[[Gradient], Tensor]) -> Tensor:
        """Apply a rule, such as clipping, to the whole gradient; return its norm before."""
        return rule(Gradient(model))

    def all_reduce(self, share: Tensor) -> Tensor:
        """There is one process: nothing to sum."""
        return share

    def full_model(self, model: nn.Module) -> nn.Module:
        """The model, for calls with whole sequences, as in generation."""
        return model
