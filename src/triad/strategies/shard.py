"""Fully sharded data parallelism (FSDP2): every process keeps its slice of everything."""

from functools import partial

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Shard


def shard(model: nn.Module, meshes: dict[str, DeviceMesh]) -> None:
    """Gather each block just before it runs and shard it again after; send gradients to their owners.

    Zhao et al. 2023, arXiv:2304.11277; Rajbhandari et al. 2020, arXiv:1910.02054 (ZeRO stage 3). What is
    sharded together is keyed by structure, not by model: each child of a ModuleList, then the rest. With
    copies (data_replicate) gradients are also summed over them (HSDP). Gradients are summed, not averaged.
    """
    over = meshes["dense"]
    if over.size() == 1:
        return
    placement = partial(_placement, over.size(over.ndim - 1))
    for stack in [module for module in model.modules() if isinstance(module, nn.ModuleList)]:
        for block in stack:
            fully_shard(block, mesh=over, shard_placement_fn=placement)
    fully_shard(model, mesh=over, shard_placement_fn=placement)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo cannot scale while it sums


def _placement(size: int, parameter: nn.Parameter) -> Shard | None:
    """The first dimension, or the second where tensor parallelism has cut the first: slices stay plain."""
    if not isinstance(parameter, DTensor) or parameter.ndim < 2 or not parameter.placements[-1].is_shard(0):
        return None
    return Shard(1) if parameter.shape[1] % size == 0 else None
