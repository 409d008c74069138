"""What torch has but does not promise to keep, in one place. Seen to work in torch 2.13."""

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh

NEEDED = {DeviceMesh: ("_flatten", "_concatenate")}
for owner, names in NEEDED.items():
    if absent := [name for name in names if not hasattr(owner, name)]:
        raise ImportError(
            f"torch {torch.__version__} has no {owner.__name__}.{absent[0]}: strategies over a mesh need"
            " torch 2.11 to 2.13; use strategy=ddp or another torch"
        )

# torch 2.13 renamed these two and warns of the old names
all_gather_single = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
reduce_scatter_single = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


def flattened(mesh: DeviceMesh, axes: tuple[str, ...], name: str) -> DeviceMesh:
    """Several axes of a mesh as one."""
    return mesh[axes]._flatten(name)


def product(first: DeviceMesh, second: DeviceMesh) -> DeviceMesh:
    """The mesh whose axes are those of two parts of one mesh."""
    return DeviceMesh._concatenate([first, second])
