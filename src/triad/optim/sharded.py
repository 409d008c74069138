"""Tensors that may be this process's slices of larger ones (DTensors): what an optimizer asks of the whole.

Shapes: K tensors of a stack, E matrices of each (experts, or 1), M rows, N columns.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor import zeros as distributed_zeros
from torch.distributed.tensor.placement_types import Placement

Axes = tuple[tuple[DeviceMesh, int], ...]


def check_decay_rate(name: str, value: float) -> float:
    """A decay rate, of an average. Raises ValueError where it is none."""
    if not 0 <= value < 1:
        raise ValueError(f"optimizer.{name}={value}: at least 0 and below 1")
    return value


def evaluate(closure: Callable | None) -> Any:
    """What an optimizer's step was asked to evaluate first: Lightning's closure."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def select_parameters(group: dict) -> list[Tensor]:
    """The parameters of a group that have a gradient."""
    return [p for p in group["params"] if p.grad is not None]


def local_gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    """What of each gradient is in this process."""
    return [local(p.grad) for p in parameters if p.grad is not None]


def local(x: Tensor) -> Tensor:
    """What of a tensor is in this process."""
    return x.to_local() if isinstance(x, DTensor) else x


def local_tensors(tensors: Iterable[Tensor]) -> list[Tensor]:
    """What of each tensor is in this process."""
    return [local(x) for x in tensors]


def matrix_dims(x: Tensor) -> tuple[int, ...]:
    """The dimensions of a matrix, without those that count matrices; a vector has one."""
    return tuple(range(max(x.ndim - 2, 0), x.ndim))


def sharding_axes(x: Tensor, dims: Iterable[int]) -> Axes:
    """The axes of a mesh whose processes hold different stretches of some dimensions."""
    if not isinstance(x, DTensor):
        return ()
    wanted = set(dims)
    places = enumerate(x.placements)
    return tuple((x.device_mesh, axis) for axis, place in places if _dim(place) in wanted)


def all_reduce(parts: Sequence[Tensor], over: Sequence[Axes]) -> None:
    """Sum each part over its axes, in place: one message for all that share axes and dtype."""
    messages: dict[Any, list[Tensor]] = defaultdict(list)
    for part, axes in zip(parts, over, strict=True):
        if axes:
            messages[axes, part.dtype].append(part)
    for (axes, _), found in messages.items():
        joined = torch.cat([part.flatten() for part in found])
        for mesh, axis in axes:
            dist.all_reduce(joined, group=mesh.get_group(axis))
        for part, total in zip(found, joined.split([part.numel() for part in found]), strict=True):
            part.copy_(total.view_as(part))


def mean_squares(pieces: Sequence[Tensor], like: Sequence[Tensor]) -> list[Tensor]:
    """The mean square of each matrix or vector of which a piece is here; it broadcasts."""
    dims = [matrix_dims(x) for x in like]
    sums = [piece.square().sum(over, keepdim=True) for piece, over in zip(pieces, dims, strict=True)]
    all_reduce(sums, [sharding_axes(x, over) for x, over in zip(like, dims, strict=True)])
    sizes = [prod(x.shape[dim] for dim in over) for x, over in zip(like, dims, strict=True)]
    return list(torch._foreach_div(sums, sizes))


def zeros_without(x: Tensor, dim: int) -> Tensor:
    """Zeros of a tensor's shape and layout without one of its last two dimensions."""
    dim %= x.ndim
    shape = (*x.shape[:dim], *x.shape[dim + 1 :])
    return _zeros(x, shape, lambda old: None if old == dim else old - (old > dim), x.dtype)


def zeros_square(x: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    """Zeros for a square matrix beside each matrix, as large as its rows (-2) or columns (-1).

    Cut by its own rows over whatever cuts the matrix.
    """
    size, last = x.shape[dim], x.ndim - 2
    return _zeros(x, (*x.shape[:-2], size, size), lambda old: min(old, last), dtype)


def _zeros(
    x: Tensor, shape: tuple[int, ...], moved: Callable[[int], int | None], dtype: torch.dtype
) -> Tensor:
    if not isinstance(x, DTensor):
        return torch.zeros(shape, dtype=dtype, device=x.device)
    dims = [None if (dim := _dim(place)) is None else moved(dim) for place in x.placements]
    places = [_move_placement(place, dim) for place, dim in zip(x.placements, dims, strict=True)]
    return distributed_zeros(*shape, dtype=dtype, device_mesh=x.device_mesh, placements=places)


def group_by_layout(parameters: Iterable[Tensor]) -> list[list[Tensor]]:
    """Parameters of one shape, dtype and layout together, to be stacked."""
    found: dict[Any, list[Tensor]] = defaultdict(list)
    for p in parameters:
        layout = (p.device_mesh, p.placements) if isinstance(p, DTensor) else p.device
        found[p.shape, p.dtype, layout].append(p)
    return list(found.values())


def to_full_matrices(pieces: Sequence[Tensor], like: Tensor) -> Tensor:
    """Stack tensors laid out like one, each whole in one process: this one's share, K x ... x M x N.

    `pieces` are what this process holds of each. Processes that hold slices, or copies, of the same matrices
    share these out among themselves, so that nothing is computed twice; `to_shards` is the inverse. Whole
    experts stay where they are.
    """
    stacked = torch.stack(list(pieces))
    if not isinstance(like, DTensor):
        return stacked
    laid_out = _stack_local(stacked, len(pieces), like, _shift_placements(like))
    return laid_out.redistribute(placements=_assign_owners(like)).to_local()


def to_shards(shared: Tensor, like: Tensor, count: int) -> list[Tensor]:
    """What this process holds of each of `count` matrices, out of a stack that `to_full_matrices` made."""
    if isinstance(like, DTensor):
        owned = _stack_local(shared, count, like, _assign_owners(like))
        shared = owned.redistribute(placements=_shift_placements(like)).to_local()
    return list(shared.unbind(0))


def _stack_local(share: Tensor, count: int, like: DTensor, places: list[Placement]) -> DTensor:
    shape = torch.Size((count, *like.shape))
    stride = tuple(torch.empty(shape, device="meta").stride())
    return DTensor.from_local(share.contiguous(), like.device_mesh, places, shape=shape, stride=stride)


def _shift_placements(x: DTensor) -> list[Placement]:
    """A tensor's layout with the stack's dimension before its own."""
    return [
        _move_placement(place, None if (dim := _dim(place)) is None else dim + 1) for place in x.placements
    ]


def _assign_owners(x: DTensor) -> list[Placement]:
    """Whole matrices dealt out: experts stay apart, all else is cut along the stack."""
    dims = [_dim(place) for place in x.placements]
    return [Shard(0 if dim is None or dim >= x.ndim - 2 else dim + 1) for dim in dims]


def _move_placement(place: Any, dim: int | None) -> Placement:
    """A placement along another dimension, or none.

    A dimension that tensor parallelism cuts and FSDP cuts again has its stretches in an order of torch's own,
    a strided shard, which is to stay one.
    """
    if dim is None:
        return Replicate()
    strides = {"split_factor": place.split_factor} if hasattr(place, "split_factor") else {}
    return type(place)(dim, **strides)


def _dim(place: Placement) -> int | None:
    return None if place.is_replicate() else place.dim  # type: ignore[attr-defined]
