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
from collections.abc import Callable, Iterator
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
TORCHS_BUFFERS = {"running_mean": 0.0, "running_var": 1.0, "num_batches_tracked": 0.0}  # of _BatchNorm


class Declared(NamedTuple):
    """What a parameter is and what it starts as."""

    role: Role
    start: Start


def declared(model: nn.Module) -> dict[str, Declared]:
    """What every parameter is, in the order of `named_parameters`. Raises ValueError where no layer says."""
    layers = dict(model.named_modules(remove_duplicate=False))
    return {
        name: Declared(_role(layers, name, parameter), _start(layers, name, parameter))
        for name, parameter in model.named_parameters()
    }


def buffer_starts(model: nn.Module) -> dict[str, Start]:
    """What every buffer starts as: a number or a function. Raises ValueError where no layer says."""
    layers = dict(model.named_modules(remove_duplicate=False))
    return {name: _buffer_start(layers, name) for name, _ in model.named_buffers()}


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
    for role in _said(layers, name, "roles"):
        if role not in ROLES:
            raise ValueError(f"{name} is said to be a {role}: a role is one of {', '.join(ROLES)}")
        return role
    if parameter.ndim < 2:
        return "vector"
    owner = layers[name.rpartition(".")[0]]
    for types, role, _ in TORCHS:
        if isinstance(owner, types):
            return role
    raise _unsaid(owner, name, "roles", f"{', '.join(ROLES)}")


def _start(layers: dict[str, nn.Module], name: str, parameter: Tensor) -> Start:
    for start in _said(layers, name, "starts"):
        if isinstance(start, str) and start not in get_args(Part):
            raise ValueError(f"{name} starts as {start}: a part is one of {', '.join(get_args(Part))}")
        return start
    if parameter.ndim >= 2:
        return "inner"
    owner = layers[name.rpartition(".")[0]]
    for types, _, gain in TORCHS:
        if isinstance(owner, types):
            return gain if name.endswith("weight") else 0.0
    raise _unsaid(owner, name, "starts", "a number or a function")


def _buffer_start(layers: dict[str, nn.Module], name: str) -> Start:
    for start in _said(layers, name, "starts"):
        return start
    owner, own = layers[name.rpartition(".")[0]], name.rpartition(".")[2]
    if isinstance(owner, _BatchNorm):
        return TORCHS_BUFFERS[own]
    raise _unsaid(owner, name, "starts", "a number or a function")


def _said(layers: dict[str, nn.Module], name: str, what: str) -> Iterator[Any]:
    """What layers say of a parameter inside them, the outermost first."""
    parts = name.split(".")
    for depth in range(len(parts)):
        said = getattr(layers[".".join(parts[:depth])], what, {})
        if (inner := plain_name(".".join(parts[depth:]))) in said:
            yield said[inner]


def _unsaid(owner: nn.Module, name: str, what: str, choices: str) -> ValueError:
    kind, own = type(owner).__name__, name.rpartition(".")[2]
    return ValueError(f'{name}: {kind} does not declare it; give {kind} {what} = {{"{own}": ...}}, {choices}')
