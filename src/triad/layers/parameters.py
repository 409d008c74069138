"""The role, initial value, tensor-parallel cut and FLOPs of each parameter, as its layer declares them.

A layer declares them in class (or instance) attributes, by parameter names relative to it, which in `roles`
and `starts` may lie in layers inside it:

    roles = {"A_log": "state"}                       what a parameter is: one of ROLES
    starts = {"gain": 1e-4, "A_log": logarithms}     what a parameter or buffer starts as: see Start
    cuts = {"q": "outputs", "out": "inputs"}         how tensor parallelism slices it: see Cut
    sequences = {"encoder": "source"}                what the weights of a submodule multiply: see Sequence

The outermost layer that names a parameter decides. Parameters of torch's own layers need no declaration, nor
do the role of vectors (parameters of one dimension) and the start of weights that follow the model's rule;
everything else does. Nothing is stored on a Parameter, since sharding replaces the object.

Each matrix is multiplied once with each token of its sequence, forward, and twice as often backward: 6 FLOPs
for each element and token. A layer with other products declares their FLOPs for each row, forward and
backward, from the lengths of rows (triad.layers.flops) and from sizes that it keeps, not from its weights,
which are sharded when it is asked:

    mixing_flops(rows)    of tokens with each other, as in attention, or with a state
    weight_flops(rows)    of weights that other rows are multiplied with: those with the role "expert", which
                          are not counted otherwise; negative for products that are left out
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

# What the model's rule for initial weights distinguishes, beside roles: outputs added to the residual stream,
# attention's queries, biases by distance, and an embedding that also reads the last, normalised states.
Part = Literal["inner", "residual", "query", "relative", "tied"]
PARTS: tuple[Part, ...] = get_args(Part)

# A Part, which starts by the model's rule; a constant; or a function that makes the full fp32 tensor from its
# shape and a random generator that depends on seed and name only.
Start = Part | float | Callable[[torch.Size, torch.Generator], Tensor]

# For a linear layer: whether its outputs or its inputs are sliced. For a parameter of the layer itself: the
# sliced dimension. None: it is not sliced and is applied to full activations, after the sum over slices. A
# parameter that a layer with cuts does not name is not sliced, but is applied to a slice of the activations.
Cut = Literal["outputs", "inputs"] | int | None

# What a weight is multiplied with: the model's tokens, which need no declaration; those of a source; one
# vector for each row; or nothing in a forward pass of the model that declares it.
Sequence = Literal["tokens", "source", "row"] | None

# torch's own layers: the role of parameters with two dimensions or more, the start of vectors called weight
TORCH_LAYERS: tuple[tuple[tuple[type, ...], Role, float], ...] = (
    ((nn.Embedding,), "embedding", 0.0),
    ((nn.Linear, nn.Bilinear, nn.RNNBase), "matrix", 0.0),
    ((_ConvNd,), "convolution", 0.0),
    ((nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, _BatchNorm), "vector", 1.0),
)
NUMBERS = "a number or a function"  # to start with, where the model has no rule


class Declared(NamedTuple):
    """A parameter's role and initial value."""

    role: Role
    start: Start


def read_declarations(model: nn.Module) -> dict[str, Declared]:
    """The declaration of every parameter, in the order of `named_parameters`. Raises ValueError for none."""
    layers = dict(model.named_modules(remove_duplicate=False))
    found = {}
    for name, parameter in model.named_parameters():
        role = _read_role(layers, name, parameter)
        found[name] = Declared(role, _read_start(layers, name, role == "vector" or parameter.ndim < 2))
    return found


def read_buffer_starts(model: nn.Module) -> dict[str, Start]:
    """The initial value of every buffer: a number or a function. Raises ValueError where one is missing."""
    layers = dict(model.named_modules(remove_duplicate=False))
    found = {name: _find_declaration(layers, name, "starts") for name, _ in model.named_buffers()}
    for name in [name for name, start in found.items() if start is None]:
        _find_torch_row(layers, name, "starts", NUMBERS)
        found[name] = 1.0 if name.endswith("running_var") else 0.0  # of batch norm; its other buffers are 0
    return found


def read_sequence(layers: dict[str, nn.Module], name: str) -> Sequence:
    """What a layer or parameter is multiplied with, by the outermost layer that names it or its parent."""
    parts = name.split(".")
    for depth in range(len(parts)):
        said = getattr(layers[".".join(parts[:depth])], "sequences", {})
        inner = ".".join(parts[depth:])
        for submodule, sequence in said.items():
            if inner == submodule or inner.startswith(f"{submodule}."):
                return sequence
    return "tokens"


def holds_experts(layer: nn.Module) -> bool:
    """Whether the layer's own parameters are those of experts, stacked along the first dimension."""
    return any(getattr(layer, "roles", {}).get(name) == "expert" for name in layer._parameters)


def fans(role: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Fan-in and fan-out of a weight: (out, in), for stacked experts (experts, in, out).

    For a convolution, (out, in, kernel), both are multiplied by the kernel's size.
    """
    if role == "expert":
        return shape[1], shape[2]
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def identity(weight: Tensor) -> Tensor:
    """The default of a layer's attribute `to_local`: the weight is not sharded."""
    return weight


def plain_name(name: str) -> str:
    """The name without the prefixes that checkpointing and compilation add."""
    return name.replace("_checkpoint_wrapped_module.", "").replace("_orig_mod.", "")


def _read_role(layers: dict[str, nn.Module], name: str, parameter: Tensor) -> Role:
    role = _find_declaration(layers, name, "roles")
    if role is None and parameter.ndim >= 2:
        role = _find_torch_row(layers, name, "roles", ", ".join(ROLES))[1]
    if role not in (None, *ROLES):
        raise ValueError(f"{name} is said to be a {role}: a role is one of {', '.join(ROLES)}")
    return role or "vector"


def _read_start(layers: dict[str, nn.Module], name: str, is_vector: bool) -> Start:
    start = _find_declaration(layers, name, "starts")
    if start is None and is_vector:
        gain = _find_torch_row(layers, name, "starts", NUMBERS)[2]
        start = gain if name.endswith("weight") else 0.0
    if isinstance(start, str) and start not in PARTS:
        raise ValueError(f"{name} starts as {start}: a part is one of {', '.join(PARTS)}")
    return "inner" if start is None else start


def _find_declaration(layers: dict[str, nn.Module], name: str, what: str) -> Any:
    """The declaration of the outermost layer that names the parameter, or None."""
    parts = name.split(".")
    for depth in range(len(parts)):
        said = getattr(layers[".".join(parts[:depth])], what, {})
        if (inner := plain_name(".".join(parts[depth:]))) in said:
            return said[inner]
    return None


def _find_torch_row(layers: dict[str, nn.Module], name: str, what: str, choices: str) -> tuple:
    """The row of TORCH_LAYERS for the layer that owns a parameter. Raises ValueError if there is none."""
    prefix, _, own = name.rpartition(".")
    for row in TORCH_LAYERS:
        if isinstance(layers[prefix], row[0]):
            return row
    kind = type(layers[prefix]).__name__
    raise ValueError(f'{name}: {kind} does not declare it; give {kind} {what} = {{"{own}": ...}}, {choices}')
