"""Operations of optimizers on tensors that may be sharded over processes (DTensors).

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

STACKED = 2**22
Axes = tuple[tuple[DeviceMesh, int], ...]


def check_decay_rate(name: str, value: float) -> float:
    """Return the decay rate of an average. Raises ValueError outside [0, 1)."""
    if not 0 <= value < 1:
        raise ValueError(f"optimizer.{name}={value}: at least 0 and below 1")
    return value


def evaluate(closure: Callable | None) -> Any:
    """Call the closure that an optimizer's step is given, such as Lightning's, and return its result."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def select_parameters(group: dict) -> list[Tensor]:
    """The parameters of a group that have a gradient."""
    return [p for p in group["params"] if p.grad is not None]


def local_gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    """The shard of each gradient in this process."""
    return [local(p.grad) for p in parameters if p.grad is not None]


def local(x: Tensor) -> Tensor:
    """The shard of a tensor in this process."""
    return x.to_local() if isinstance(x, DTensor) else x


def local_tensors(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The shard of each tensor in this process."""
    return [local(x) for x in tensors]


def matrix_dims(x: Tensor) -> tuple[int, ...]:
    """The dimensions of a matrix (the last two), without those that stack matrices; a vector has one."""
    return tuple(range(max(x.ndim - 2, 0), x.ndim))


def sharding_axes(x: Tensor, dims: Iterable[int]) -> Axes:
    """The axes of the mesh over which some dimensions are sharded."""
    if not isinstance(x, DTensor):
        return ()
    wanted = set(dims)
    places = enumerate(x.placements)
    return tuple((x.device_mesh, axis) for axis, place in places if _dim(place) in wanted)


def all_reduce(parts: Sequence[Tensor], over: Sequence[Axes]) -> None:
    """Sum each part over its axes, in place, with one message for all that share axes and dtype."""
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
    """The mean square of each whole matrix or vector from its local pieces; it broadcasts."""
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
    """Zeros for a square matrix for each matrix, as large as its number of rows (-2) or columns (-1).

    It is sharded by its own rows over the axes that shard the matrix.
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
    """Lists of parameters with equal shape, dtype and layout, to be stacked.

    A process computes at most `STACKED` numbers of a stack, or one parameter: the temporaries of Muon are 7
    times as large, those of SOAP 14 times for square matrices and 43 times for sides of 4 to 1.
    """
    alike: dict[Any, list[Tensor]] = defaultdict(list)
    for p in parameters:
        layout = (p.device_mesh, p.placements) if isinstance(p, DTensor) else p.device
        alike[p.shape, p.dtype, layout].append(p)
    found = []
    for stack in alike.values():
        processes = stack[0].device_mesh.size() if isinstance(stack[0], DTensor) else 1
        length = max(1, STACKED // stack[0].numel()) * processes
        found += [stack[start : start + length] for start in range(0, len(stack), length)]
    return found


def to_full_matrices(pieces: Sequence[Tensor], like: Tensor) -> Tensor:
    """Redistribute a stack of matrices so that each is whole in one process; return this process's, KMN.

    `pieces` are the local shards of tensors that have the layout of `like`. Processes that hold shards, or
    copies, of the same matrices get different ones, so that nothing is computed twice; `to_shards` is the
    inverse. Whole experts stay where they are.
    """
    stacked = torch.stack(list(pieces))
    if not isinstance(like, DTensor):
        return stacked
    laid_out = _stack_local(stacked, len(pieces), like, _shift_placements(like))
    return laid_out.redistribute(placements=_assign_owners(like)).to_local()


def to_shards(shared: Tensor, like: Tensor, count: int) -> list[Tensor]:
    """The local shards of `count` matrices, from this process's share of `to_full_matrices`."""
    if isinstance(like, DTensor):
        owned = _stack_local(shared, count, like, _assign_owners(like))
        shared = owned.redistribute(placements=_shift_placements(like)).to_local()
    return list(shared.unbind(0))


def _stack_local(share: Tensor, count: int, like: DTensor, places: list[Placement]) -> DTensor:
    shape = torch.Size((count, *like.shape))
    stride = tuple(torch.empty(shape, device="meta").stride())
    return DTensor.from_local(share.contiguous(), like.device_mesh, places, shape=shape, stride=stride)


def _shift_placements(x: DTensor) -> list[Placement]:
    """The placements of a tensor with a new first dimension for the stack."""
    return [
        _move_placement(place, None if (dim := _dim(place)) is None else dim + 1) for place in x.placements
    ]


def _assign_owners(x: DTensor) -> list[Placement]:
    """Placements with whole matrices: expert dimensions stay sharded, all else is sharded along the stack."""
    dims = [_dim(place) for place in x.placements]
    return [Shard(0 if dim is None or dim >= x.ndim - 2 else dim + 1) for dim in dims]


def _move_placement(place: Any, dim: int | None) -> Placement:
    """The placement along another dimension; replicated for None.

    A dimension sharded by tensor parallelism and again by FSDP is a strided shard, and remains one.
    """
    if dim is None:
        return Replicate()
    strides = {"split_factor": place.split_factor} if hasattr(place, "split_factor") else {}
    return type(place)(dim, **strides)


def _dim(place: Placement) -> int | None:
    return None if place.is_replicate() else place.dim  # type: ignore[attr-defined]
