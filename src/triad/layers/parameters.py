"""What each parameter is, how it starts and how it is cut, as the layer says that makes it.

A layer says so in attributes of its class (or its own), by names within it, also those of layers inside it:

    roles = {"A_log": "state"}                       what a parameter is: one of ROLES
    starts = {"gain": 1e-4, "A_log": logarithms}     what a parameter or buffer starts as: see Start
    cuts = {"q": "outputs", "out": "inputs"}         how tensor parallelism slices it: see Cut

The outermost layer that names a parameter decides. What torch's own layers make needs no word; everything
else does, but for the role of vectors (the rest has two dimensions or more) and for weights that start by
the model's rule. No value is kept on a Parameter: sharding makes new ones.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

Role = Literal["matrix", "embedding", "head", "vector", "router", "expert", "convolution", "state"]
ROLES: tuple[Role, ...] = get_args(Role)

# What the model's rule for initial weights tells apart, beside roles: what is added to the residual stream,
# attention's queries, and biases by distance.
Part = Literal["inner", "residual", "query", "relative"]
PARTS: tuple[Part, ...] = get_args(Part)

# A part of the model, which starts by its rule; a constant; or a function that makes the whole tensor in
# fp32 from its shape and a random generator that depends on seed and name only.
Start = Part | float | Callable[[torch.Size, torch.Generator], Tensor]

# Of a linear layer: its outputs or its inputs are sliced. Of a parameter of the layer itself: the dimension
# that is sliced. None: it is whole and meets whole activations, behind the sum over slices. What a layer with
# cuts does not name is whole and meets the activations of some heads or hidden units only.
Cut = Literal["outputs", "inputs"] | int | None

# torch's own layers: role of what has two dimensions or more, start of the vectors called weight.
TORCHS: tuple[tuple[tuple[type, ...], Role, float], ...] = (
    ((nn.Embedding,), "embedding", 0.0),
    ((nn.Linear, nn.Bilinear, nn.RNNBase), "matrix", 0.0),
    ((_ConvNd,), "convolution", 0.0),
    ((nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, _BatchNorm), "vector", 1.0),
)
NUMBERS = "a number or a function"  # to start with, where the model has no rule


class Declared(NamedTuple):
    """What a parameter is and what it starts as."""

    role: Role
    start: Start


def declared(model: nn.Module) -> dict[str, Declared]:
    """What every parameter is, in the order of `named_parameters`. Raises ValueError where no layer says."""
    layers = dict(model.named_modules(remove_duplicate=False))
    found = {}
    for name, parameter in model.named_parameters():
        role = _role(layers, name, parameter)
        found[name] = Declared(role, _start(layers, name, role == "vector" or parameter.ndim < 2))
    return found


def buffer_starts(model: nn.Module) -> dict[str, Start]:
    """What every buffer starts as: a number or a function. Raises ValueError where no layer says."""
    layers = dict(model.named_modules(remove_duplicate=False))
    found = {name: _said(layers, name, "starts") for name, _ in model.named_buffers()}
    for name in [name for name, start in found.items() if start is None]:
        _torchs(layers, name, "starts", NUMBERS)
        found[name] = 1.0 if name.endswith("running_var") else 0.0  # of batch norm; its other buffers are 0
    return found


def holds_experts(layer: nn.Module) -> bool:
    """Whether the layer's own parameters are those of experts, stacked along the first dimension."""
    return any(getattr(layer, "roles", {}).get(name) == "expert" for name in layer._parameters)


def fans(role: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """How many inputs and outputs a weight has: a layer's is (out, in), stacked experts' (experts, in, out).

    Of a convolution (out, in, kernel) both times the kernel.
    """
    if role == "expert":
        return shape[1], shape[2]
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def whole(weight: Tensor) -> Tensor:
    """What the attribute `held` of a layer that cuts parameters of its own is where all of them are here."""
    return weight


def plain_name(name: str) -> str:
    """The name without what checkpointing and compilation put around a module."""
    return name.replace("_checkpoint_wrapped_module.", "").replace("_orig_mod.", "")


def _role(layers: dict[str, nn.Module], name: str, parameter: Tensor) -> Role:
    role = _said(layers, name, "roles")
    if role is None and parameter.ndim >= 2:
        role = _torchs(layers, name, "roles", ", ".join(ROLES))[1]
    if role not in (None, *ROLES):
        raise ValueError(f"{name} is said to be a {role}: a role is one of {', '.join(ROLES)}")
    return role or "vector"


def _start(layers: dict[str, nn.Module], name: str, is_vector: bool) -> Start:
    start = _said(layers, name, "starts")
    if start is None and is_vector:
        gain = _torchs(layers, name, "starts", NUMBERS)[2]
        start = gain if name.endswith("weight") else 0.0
    if isinstance(start, str) and start not in PARTS:
        raise ValueError(f"{name} starts as {start}: a part is one of {', '.join(PARTS)}")
    return "inner" if start is None else start


def _said(layers: dict[str, nn.Module], name: str, what: str) -> Any:
    """What the outermost layer that names a parameter says of it, or None."""
    parts = name.split(".")
    for depth in range(len(parts)):
        said = getattr(layers[".".join(parts[:depth])], what, {})
        if (inner := plain_name(".".join(parts[depth:]))) in said:
            return said[inner]
    return None


def _torchs(layers: dict[str, nn.Module], name: str, what: str, choices: str) -> tuple:
    """The row of torch's own layer that owns a parameter. ValueError where it is none of them."""
    prefix, _, own = name.rpartition(".")
    for row in TORCHS:
        if isinstance(layers[prefix], row[0]):
            return row
    kind = type(layers[prefix]).__name__
    raise ValueError(f'{name}: {kind} does not declare it; give {kind} {what} = {{"{own}": ...}}, {choices}')
