"""Matrix products in 8 bits, where the GPU has units for them."""

from importlib import import_module

import torch
from torch import nn


def to_fp8(model: nn.Module) -> None:
    """Have the products of linear layers run in fp8, scaled by tensor.

    Micikevicius et al. 2022, arXiv:2209.05433. Raises ValueError without fp8 units. Layers whose sides
    do not divide by 16, and the head, which the loss reads directly, stay in bf16.
    """
    major, minor = torch.cuda.get_device_capability()
    if (major, minor) < (8, 9):
        raise ValueError(
            f"precision=fp8: {torch.cuda.get_device_name()} (compute capability {major}.{minor}) has no fp8"
            " units, which begin at 8.9; use precision=bf16-mixed"
        )
    float8 = import_module("torchao.float8")  # an optional package
    float8.convert_to_float8_training(model, module_filter_fn=_suits_fp8)


def _suits_fp8(module: nn.Module, name: str) -> bool:
    sides = (module.in_features, module.out_features) if isinstance(module, nn.Linear) else (1,)
    return name.rpartition(".")[2] != "head" and all(side % 16 == 0 for side in sides)
