"""Validation with weights that the optimizer averages by itself."""

from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor


class Averaged(Callback):
    """Validate with the average that an optimizer with a method `averaged` keeps: optimizer=schedule_free.

    val/loss and the samples are the average's. It is in the checkpoints, beside the weights that are trained:
    `export` and `generate` take it with weights=average. Training goes on with the very same numbers.
    """

    keeps = "average"  # its name in a checkpoint

    def __init__(self) -> None:
        self.trained: list[Tensor] = []  # while the average is in their place

    def weights(self, task: Any) -> dict[str, Tensor]:
        """The average, by parameter name; buffers as they are."""
        optimizer, learned = task.trainer.optimizers[0], _learned(task)
        return {
            name: optimizer.averaged(learned[name]) if name in learned else tensor.detach().clone()
            for name, tensor in task.model.state_dict().items()
        }

    @torch.no_grad()
    def on_validation_start(self, trainer: Trainer, task: Any) -> None:
        parameters = list(task.model.parameters())
        averages = [_local(trainer.optimizers[0].averaged(p)) for p in parameters]
        self.trained = [_local(p).clone() for p in parameters]
        self._put(task, averages)

    @torch.no_grad()
    def on_validation_end(self, trainer: Trainer, task: Any) -> None:
        self._put(task, self.trained)
        self.trained = []

    def _put(self, task: Any, values: list[Tensor]) -> None:
        for p, value in zip(task.model.parameters(), values, strict=True):
            _local(p).copy_(value)
        for module in task.model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()  # or what has been gathered would be used once more


def _learned(task: Any) -> dict[str, Tensor]:
    return dict(task.model.named_parameters(remove_duplicate=False))


def _local(x: Tensor) -> Tensor:
    return x.detach().to_local() if isinstance(x, DTensor) else x.detach()
