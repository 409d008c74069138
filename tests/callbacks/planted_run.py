"""`python planted_run.py train.py layer word ...`: at step 4 a gradient is nan on the last rank.

It is that of a layer's output, so that every strategy meets it on its own way to the weights.
"""

import runpy
import sys
from typing import Any

import torch
from torch import Tensor

from triad.tasks.module import Training

STEP = 4


def plant(module: torch.nn.Module, _: Any, output: Tensor) -> None:
    if output.requires_grad:
        output.register_hook(lambda gradient: gradient * torch.nan)


def training_step(self: Training, batch: dict, index: int) -> Any:
    if batch["step"] == STEP - 1 and self.trainer.global_rank == self.trainer.world_size - 1:
        hook = self.model.get_submodule(layer).register_forward_hook(plant)
        try:
            return usual(self, batch, index)
        finally:
            hook.remove()
    return usual(self, batch, index)


if __name__ == "__main__":
    script, layer = sys.argv[1:3]
    usual, Training.training_step = Training.training_step, training_step
    sys.argv = [script, *sys.argv[3:]]
    runpy.run_path(script, run_name="__main__")
