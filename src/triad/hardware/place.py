"""Where, and in which numeric format, a trained model is computed."""

import sys
from typing import NamedTuple

import torch
from lightning.pytorch import plugins
from torch import nn

from triad.hardware.device import device
from triad.hardware.precision import has_recurrent_kernels, make_plugin, recurrent_to_fp32


class Place(NamedTuple):
    """A device, the name of a precision, and Lightning's plugin for it, whose forward_context is entered."""

    device: torch.device
    precision: str
    plugin: plugins.Precision

    def put(self, model: nn.Module) -> nn.Module:
        """A model on the device, its weights in the precision's dtype where that is not mixed."""
        if self.precision.endswith("mixed") and not has_recurrent_kernels(self.device, self.precision):
            recurrent_to_fp32(model)
        return self.plugin.convert_module(model).to(self.device)


def find_place(accelerator: str, precision: str, asked: str | None = None) -> Place:
    """The place of a run of this accelerator and precision, or on the device that is `asked` for.

    A run of a GPU is computed on the CPU, which is said, where there is none. fp8 is that of training: here
    it is bf16-mixed. Raises ValueError for a device that is asked for and not there.
    """
    if asked is None and accelerator != "cpu" and not torch.cuda.is_available():
        print(f"trainer.accelerator={accelerator}: no GPU is here; computed on the CPU", file=sys.stderr)
        asked = "cpu"
    found = device(asked or accelerator)
    name = "bf16-mixed" if precision == "fp8" else precision
    return Place(found, name, make_plugin(name, found))
