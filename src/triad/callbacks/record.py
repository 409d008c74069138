"""What a run computed, in whole: to be held against another layout's."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class Record(Callback):
    """Keep the gradients (as clipped) of each step, the experts' loads, and the weights at the end.

    Every process writes <run>/record/rank-<r>.pt with all that it holds, made whole: copies that have drifted
    apart are seen, too. DeepSpeed keeps gradients to itself. For small models: everything is in memory.
    """

    def __init__(self, run: Path) -> None:
        self.folder = run / "record"
        self.gradients: list[dict[str, Tensor]] = []
        self.loads: list[Tensor] = []

    def on_train_start(self, trainer: Trainer, task: Any) -> None:
        strategy: Any = trainer.strategy
        strategy.clip = partial(
            self._clip, strategy.clip
        )  # no hook of Lightning's lies between it and the step

    def on_train_batch_end(self, trainer: Trainer, task: Any, *_: Any) -> None:
        self.loads.append(trainer.strategy.total(task.load_LE.double()).cpu())

    def on_train_end(self, trainer: Trainer, task: Any) -> None:
        held = trainer.strategy.tensors(task.model, trainer.optimizers[0])["model"]
        weights = {name: whole(weight) for name, weight in held.items()}
        self.folder.mkdir(exist_ok=True)
        record = {"gradients": self.gradients, "loads": self.loads, "weights": weights}
        torch.save(record, self.folder / f"rank-{trainer.global_rank}.pt")

    def _clip(self, clip: Callable, model: nn.Module, largest: float | None) -> Tensor:
        norm = clip(model, largest)
        named = [(name, p.grad) for name, p in model.named_parameters()]
        self.gradients.append({name: whole(g) for name, g in named if g is not None})
        return norm


def whole(x: Tensor) -> Tensor:
    """A tensor with all its shards, copied to the host."""
    return (x.full_tensor() if isinstance(x, DTensor) else x).detach().cpu().clone()
