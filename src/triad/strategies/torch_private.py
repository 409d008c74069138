"""All uses of torch's private functions. Tested with torch 2.13."""

from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

_exchange = torch.ops._c10d_functional  # unlike torch.distributed's own, these can be compiled

NEEDED = {
    DeviceMesh: ("_flatten", "_concatenate"),
    _exchange: ("all_reduce", "all_gather_into_tensor", "reduce_scatter_tensor", "wait_tensor"),
}
for owner, names in NEEDED.items():
    if absent := [name for name in names if not hasattr(owner, name)]:
        raise ImportError(
            f"torch {torch.__version__} has no {owner.__name__}.{absent[0]}: strategies over a mesh need"
            " torch 2.11 to 2.13; use strategy=ddp or another torch"
        )

# torch 2.13 renamed these two and warns of the old names
all_gather_single = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
reduce_scatter_single = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


def flatten_axes(mesh: DeviceMesh, axes: tuple[str, ...], name: str) -> DeviceMesh:
    """Several axes of a mesh as one."""
    return mesh[axes]._flatten(name)


def combine_meshes(first: DeviceMesh, second: DeviceMesh) -> DeviceMesh:
    """The mesh whose axes are those of two parts of one mesh."""
    return DeviceMesh._concatenate([first, second])


def all_reduce(x: Tensor, operation: Literal["sum", "max"], group: str) -> Tensor:
    """The sum, or the largest, of a group's tensors, element by element."""
    return _exchange.wait_tensor(_exchange.all_reduce(x.contiguous(), operation, group))


def all_gather(x: Tensor, size: int, group: str) -> Tensor:
    """A group's tensors, concatenated along the first dimension."""
    return _exchange.wait_tensor(_exchange.all_gather_into_tensor(x.contiguous(), size, group))


def reduce_scatter(x: Tensor, size: int, group: str) -> Tensor:
    """Each process's slice, along the first dimension, of the sum of a group's tensors."""
    return _exchange.wait_tensor(_exchange.reduce_scatter_tensor(x.contiguous(), "sum", size, group))
