"""Numeric formats, by the names that Lightning gives them."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from typing import Any, Literal

import torch
from lightning.pytorch import plugins
from torch import Tensor, nn

from triad.hardware.autotune import Measured
from triad.hardware.device import compute_dtype
from triad.hardware.loss_scaler import LossScaler
from triad.layers.autocast import autocast_off


def fixed(
    measured: Measured, name: Literal["64-true", "32-true", "bf16-mixed", "bf16-true", "16-mixed", "fp8"]
) -> str:
    """The named precision; the names are Lightning's, but for fp8."""
    return name


def auto(measured: Measured) -> str:
    """bf16-mixed where the device multiplies bf16 clearly faster than fp32, else 32-true.

    It is measured, not looked up: CPUs differ in bf16 speed by an order of magnitude in both directions.
    """
    device = measured.device
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    if device.type != "cpu":
        return "32-true"

    def multiply(dtype: torch.dtype) -> None:
        a, b = torch.ones(1024, 1024, dtype=dtype), torch.ones(1024, 1024, dtype=dtype)
        for _ in range(4):
            a @ b.t()

    question = {"32-true": lambda: multiply(torch.float32), "bf16-mixed": lambda: multiply(torch.bfloat16)}
    return measured.fastest("matrix product 1024", question)


def make_plugin(name: str, device: torch.device) -> plugins.Precision:
    """Lightning's plugin for a precision on a device.

    Training enters the plugin's forward_context around the forward pass: Lightning would also have the
    backward pass and the optimizer's step in it, whose products autocast would lower. The plugin is made here
    because the Trainer refuses some names for some strategies, takes bf16 for fp16 on a CPU and has no fp8:
    with fp8 all other operations run in bf16-mixed.
    """
    match name:
        case "64-true":
            plugin: Any = plugins.DoublePrecision()
        case "bf16-true":
            plugin = plugins.HalfPrecision("bf16-true")
        case "16-mixed" | "bf16-mixed" | "fp8":
            plugin = MixedPrecision("16-mixed" if name == "16-mixed" else "bf16-mixed", device.type)
        case _:
            plugin = plugins.Precision()
    plugin.train_step_context = nullcontext  # ty: ignore[invalid-assignment]
    return plugin


class MixedPrecision(plugins.MixedPrecision):
    """Lightning's, which with our scaler unscales fp16 gradients before their norm, for every optimizer.

    Fused optimizers of torch offer to unscale in their step: norm and clipping would see scaled gradients,
    and fused SGD moves its momentum in a step that is skipped. The offer is declined.
    """

    def __init__(self, precision: Literal["16-mixed", "bf16-mixed"], device: str) -> None:
        super().__init__(precision, device, LossScaler(device) if precision == "16-mixed" else None)

    def connect(self, model: Any, optimizers: list, lr_schedulers: list) -> tuple:
        for optimizer in optimizers:
            optimizer._step_supports_amp_scaling = False
        return super().connect(model, optimizers, lr_schedulers)


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


def has_recurrent_kernels(device: torch.device, precision: str) -> bool:
    """Whether an LSTM runs on the device, forward under autocast to this precision and backward (by trying).

    On CPUs without AVX-512 oneDNN has no bf16 kernel for it and raises.
    """
    layer, x_TBD = nn.LSTM(8, 8, device=device), torch.ones(2, 1, 8, device=device)
    try:
        with torch.autocast(device.type, compute_dtype(precision)):
            y_TBD = layer(x_TBD)[0]
        y_TBD.sum().backward()
    except RuntimeError:
        return False
    return True


def recurrent_to_fp32(model: nn.Module) -> None:
    """Have the LSTMs in a model computed in fp32, outside autocast."""
    for module in model.modules():
        if isinstance(module, nn.LSTM):
            module.forward = partial(_in_fp32, module.forward)


def _in_fp32(forward: Callable, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> Any:
    with autocast_off(input):
        return forward(input.float(), None if hx is None else tuple(state.float() for state in hx))


def _suits_fp8(module: nn.Module, name: str) -> bool:
    sides = (module.in_features, module.out_features) if isinstance(module, nn.Linear) else (1,)
    return name.rpartition(".")[2] != "head" and all(side % 16 == 0 for side in sides)
