"""What a run computed, in whole: to be held against another layout's."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.distributed.tensor import DTensor


class Record(Callback):
    """Keep the gradients (as clipped) of each step, the experts' loads, and the weights at the end.

    Every process writes <run>/record/rank-<r>.pt with all that it holds, made whole: copies that have drifted
    apart are seen, too. For small models: everything is in memory.
    """

    def __init__(self, run: Path) -> None:
        self.folder = run / "record"
        self.gradients: list[dict[str, Tensor]] = []
        self.loads: list[Tensor] = []

    def on_train_start(self, trainer: Trainer, task: Any) -> None:
        optimizer = trainer.optimizers[0]
        optimizer.register_step_pre_hook(lambda *_: self.gradients.append(self._gradients(task)))

    def on_train_batch_end(self, trainer: Trainer, task: Any, *_: Any) -> None:
        self.loads.append(trainer.strategy.total(task.load_LE.double()).cpu())

    def on_train_end(self, trainer: Trainer, task: Any) -> None:
        held = trainer.strategy.tensors(task.model, trainer.optimizers[0])["model"]
        weights = {name: whole(weight) for name, weight in held.items()}
        self.folder.mkdir(exist_ok=True)
        record = {"gradients": self.gradients, "loads": self.loads, "weights": weights}
        torch.save(record, self.folder / f"rank-{trainer.global_rank}.pt")

    def _gradients(self, task: Any) -> dict[str, Tensor]:
        named = [(name, p.grad) for name, p in task.model.named_parameters()]
        return {name: whole(gradient) for name, gradient in named if gradient is not None}


def whole(x: Tensor) -> Tensor:
    """A tensor with all its shards, copied to the host."""
    return (x.full_tensor() if isinstance(x, DTensor) else x).detach().cpu().clone()
