"""Initial weights that depend on the seed and the parameter's name only: not on ranks, sharding or order."""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn

from triad.optim.roles import Role, plain_name, roles


@torch.no_grad()
def initialise(model: nn.Module, seed: int, scale: Callable[[str], float] | None = None) -> None:
    """Fill every parameter in place from (seed, name, index), after the model's own rule `model.initial`.

    The whole fp32 tensor is drawn on the CPU, one parameter at a time, and each rank keeps its own shard:
    nothing is sent. Vectors: gains are 1, biases 0; buffers start at 0. `scale` gives a number that a
    parameter is multiplied by, by its name. For a model built on the meta device call `to_empty` first.
    """
    for name, role in roles(model).items():
        parameter = model.get_parameter(name)
        full = initial_value(model, seed, plain_name(name), role, parameter.shape)
        if scale is not None and (factor := scale(plain_name(name))) != 1:
            full *= factor
        _copy(parameter, full)
    for buffer in model.buffers():  # state without a gradient: the bias that balances experts
        buffer.zero_()


def initial_value(model: Any, seed: int, name: str, role: Role, shape: torch.Size) -> Tensor:
    """The whole fp32 tensor that one parameter starts from."""
    if role == "vector":
        return torch.full(shape, 1.0 if name.endswith("weight") else 0.0, dtype=torch.float32)
    std = model.initial(role=role, name=name, shape=tuple(shape), depth=model.depth)
    key = blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key, "little", signed=True))
    return torch.empty(shape, dtype=torch.float32).normal_(0.0, std, generator=generator)


def _copy(parameter: nn.Parameter, full: Tensor) -> None:
    # imported late: a second of import that a single process never needs
    from torch.distributed.tensor import DTensor, distribute_tensor

    if isinstance(parameter, DTensor):
        sharded = distribute_tensor(full, parameter.device_mesh, parameter.placements, src_data_rank=None)
        parameter.to_local().copy_(sharded.to_local())
    else:
        parameter.copy_(full)
