"""Initial weights that depend on the seed and the parameter's name only: not on ranks, sharding or order."""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn

from triad.layers.parameters import Declared, Start, plain_name, read_buffer_starts, read_declarations


@torch.no_grad()
def initialise(model: nn.Module, seed: int, scale: Callable[[str], float] | None = None) -> None:
    """Fill every parameter and buffer in place from (seed, name, index), as its layer declares it.

    Where a layer declares a part, the start follows `model.initial`. The full fp32 tensor is made on the CPU,
    one parameter at a time, and each rank keeps its own shard: nothing is sent. `scale(name)` is a factor for
    a parameter. For a model built on the meta device call `to_empty` first.
    """
    for name, said in read_declarations(model).items():
        parameter = model.get_parameter(name)
        full = _initial(model, seed, plain_name(name), said, parameter.shape)
        if scale is not None and (factor := scale(plain_name(name))) != 1:
            full *= factor
        _copy(parameter, full)
    for name, start in read_buffer_starts(model).items():
        buffer = model.get_buffer(name)
        buffer.copy_(_made(start, buffer.shape, seed, plain_name(name)))


def standard_deviation(model: Any, said: Declared, shape: tuple[int, ...]) -> float:
    """The standard deviation that the model's rule gives to a parameter."""
    return model.initial(role=said.role, part=said.start, shape=tuple(shape), depth=model.depth)


def _initial(model: Any, seed: int, name: str, said: Declared, shape: torch.Size) -> Tensor:
    """The full fp32 tensor that a parameter starts from."""
    if not isinstance(said.start, str):
        return _made(said.start, shape, seed, name)
    std = standard_deviation(model, said, shape)
    return torch.empty(shape, dtype=torch.float32).normal_(0.0, std, generator=_generator(seed, name))


def _made(start: Start, shape: torch.Size, seed: int, name: str) -> Tensor:
    if isinstance(start, int | float):
        return torch.full(shape, start, dtype=torch.float32)
    assert not isinstance(start, str), f"{name} is no part of the model that its rule knows"
    return start(shape, _generator(seed, name))


def _generator(seed: int, name: str) -> torch.Generator:
    key = blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(key, "little", signed=True))


def _copy(parameter: nn.Parameter, full: Tensor) -> None:
    # imported late: a second of import that a single process never needs
    from torch.distributed.tensor import DTensor, distribute_tensor

    if isinstance(parameter, DTensor):
        sharded = distribute_tensor(full, parameter.device_mesh, parameter.placements, src_data_rank=None)
        parameter.to_local().copy_(sharded.to_local())
    else:
        parameter.copy_(full)
