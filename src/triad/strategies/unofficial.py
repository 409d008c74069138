"""What torch has but does not promise to keep, in one place. Seen to work in torch 2.13."""

import torch
from torch.distributed.device_mesh import DeviceMesh

NEEDED = {DeviceMesh: ("_flatten", "_concatenate")}
for owner, names in NEEDED.items():
    if absent := [name for name in names if not hasattr(owner, name)]:
        raise ImportError(
            f"torch {torch.__version__} has no {owner.__name__}.{absent[0]}: strategies over a mesh need"
            " torch 2.11 to 2.13; use strategy=ddp or another torch"
        )


def flattened(mesh: DeviceMesh, axes: tuple[str, ...], name: str) -> DeviceMesh:
    """Several axes of a mesh as one."""
    return mesh[axes]._flatten(name)


def product(first: DeviceMesh, second: DeviceMesh) -> DeviceMesh:
    """The mesh whose axes are those of two parts of one mesh."""
    return DeviceMesh._concatenate([first, second])
