"""A callback that looks at gradients."""

from typing import Any

from lightning.pytorch import Callback, Trainer
from torch import Tensor

from triad.optim.gradient import Gradient


class GradientSigns(Callback):
    """Print the share of gradients above zero, once."""

    uses = ("gradients",)
    observer = True

    def on_train_start(self, trainer: Trainer, training: Any) -> None:
        self.told = False
        training.update.hooks.append(self.watch)

    def watch(self, gradient: Gradient, norm: Tensor) -> None:
        if not self.told:
            above = sum(int((tensor > 0).sum()) for tensor in gradient.tensors.values())
            print(f"{above} gradients are above zero", flush=True)
        self.told = True
