"""A record of all that a run computed, to be compared with that of another layout."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from triad.runs.directory import Run
from triad.strategies.state import FlatSlice
from triad.verify.traffic import Traffic, count_bytes


class Record(Callback):
    """Keep the gradients (as clipped) of each step, the experts' loads, the weights at the end, and bytes.

    Every process writes <run>/record/rank-<r>.pt with the full tensors of all that it holds, so that copies
    that differ are seen, too. For small models: everything is in memory.
    """

    observer = True  # changes no metric of the run: triad.config.identity

    def __init__(self, run: Run) -> None:
        self.folder = run.record
        self.gradients: list[dict[str, Tensor]] = []
        self.loads: list[Tensor] = []
        self.traffic: dict[str, dict[str, int]] = {}
        self.counting: Traffic | None = None
        self.gradient_bytes = 0

    def on_train_start(self, trainer: Trainer, training: Any) -> None:
        strategy: Any = trainer.strategy
        # Lightning has no hook between clipping and the step
        strategy.clip = partial(self._clip, strategy.clip)
        self.find = getattr(strategy, "gradients", _gradients)

    def on_train_batch_start(self, trainer: Trainer, training: Any, batch: dict, batch_idx: int) -> None:
        if batch_idx == 1:  # the first step also makes buffers and infers shapes
            self.counting = Traffic()
            self.counting.__enter__()

    def on_train_batch_end(self, trainer: Trainer, training: Any, outputs: Any, *_: Any) -> None:
        if self.find is not _gradients:  # DeepSpeed's, recorded before it clipped them
            largest = training.update.clip.largest
            norm = outputs["figures"]["train/gradient_norm"].cpu()
            scale = (largest / (norm + 1e-6)).clamp(max=1.0) if largest else 1.0
            self.gradients[-1] = {name: gradient * scale for name, gradient in self.gradients[-1].items()}
        self.loads.append(trainer.strategy.all_reduce(outputs["load_LE"].double()).cpu())

    def on_train_end(self, trainer: Trainer, training: Any) -> None:
        found = trainer.strategy.tensors(training.model, trainer.optimizers[0])["model"]
        weights = {name: full_tensor(weight) for name, weight in found.items()}
        self.folder.mkdir(exist_ok=True)
        record: dict[str, Any] = {"gradients": self.gradients, "loads": self.loads, "weights": weights}
        record |= {"held": self._count_bytes(trainer, training), "traffic": self.traffic}
        torch.save(record, self.folder / f"rank-{trainer.global_rank}.pt")

    def _clip(self, clip: Callable, model: nn.Module, rule: Callable) -> Tensor:
        if self.counting:
            self.counting.__exit__(None, None, None)
            self.traffic = {"messages": dict(self.counting.messages), "bytes": dict(self.counting.bytes)}
            self.counting = None
        norm = clip(model, rule)
        self.gradient_bytes = count_bytes(p.grad for p in model.parameters())
        named = self.find(model)
        self.gradients.append({name: full_tensor(g) for name, g in named if g is not None})
        return norm

    def _count_bytes(self, trainer: Trainer, training: Any) -> dict[str, int]:
        states = [state.values() for state in trainer.optimizers[0].state.values()]
        return {
            "parameters": count_bytes(training.model.parameters()),
            "gradients": self.gradient_bytes,
            "optimizer": sum(map(count_bytes, states)),
        }


def _gradients(model: nn.Module) -> list[tuple[str, Tensor | None]]:
    return [(name, parameter.grad) for name, parameter in model.named_parameters()]


def full_tensor(x: Tensor | FlatSlice) -> Tensor:
    """A tensor with all its shards, copied to the host."""
    if isinstance(x, FlatSlice):
        return x.full_tensor().cpu()
    return (x.full_tensor() if isinstance(x, DTensor) else x).detach().cpu().clone()
