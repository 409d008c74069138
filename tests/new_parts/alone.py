"""A strategy of one process that shows nobody its gradients."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn

from triad.optim.gradient import Gradient
from triad.strategies.state import tensors


class Alone(SingleDeviceStrategy):
    """All on one CPU."""

    processes = 1
    hides = {"gradients": {}}
    data_rank, data_ranks, gradient_scale, pipeline = 0, 1, 1, None
    tensors = staticmethod(tensors)

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))

    def parallelize(self, model: nn.Module) -> None:
        """Nothing to split."""

    def micro_batch(self, last: bool) -> AbstractContextManager:
        return nullcontext()

    def clip(self, model: nn.Module, rule: Callable[[Gradient], Tensor]) -> Tensor:
        return rule(Gradient(model))

    def all_reduce(self, share: Tensor) -> Tensor:
        return share

    def full_model(self, model: nn.Module) -> nn.Module:
        return model
