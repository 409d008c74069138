"""Fully sharded data parallelism (FSDP2): every process keeps a shard of each parameter."""

from functools import partial

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Shard

from triad.layers.parameters import holds_experts


def shard(model: nn.Module, meshes: dict[str, DeviceMesh]) -> None:
    """Gather each block just before it runs and shard it again after; send gradients to their owners.

    Zhao et al. 2023, arXiv:2304.11277; Rajbhandari et al. 2020, arXiv:1910.02054 (ZeRO stage 3). What is
    sharded together is keyed by structure, not by model: each child of a ModuleList, then the rest. With
    copies (data_replicate) gradients are also summed over them (HSDP). Gradients are summed, not averaged.
    """
    over = meshes["dense"]
    if over.size() == 1:
        return
    excluded = _shard_experts(model, meshes) if meshes["expert"].size() > 1 else set()
    placement = partial(choose_shard, ranks=over.size(-1))
    for stack in [module for module in model.modules() if isinstance(module, nn.ModuleList)]:
        for block in stack:
            fully_shard(block, mesh=over, ignored_params=excluded, shard_placement_fn=placement)
    fully_shard(model, mesh=over, ignored_params=excluded, shard_placement_fn=placement)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo cannot scale while it sums


def _shard_experts(model: nn.Module, meshes: dict[str, DeviceMesh]) -> set[nn.Parameter]:
    """Shard experts over the processes that hold the same ones; return parameters that FSDP must not shard.

    Where one process holds each expert there is nothing to shard: its gradient is already complete.
    """
    layers = [module for module in model.modules() if holds_experts(module)]
    over = meshes["sparse"]
    if over.size() == 1:
        return {parameter for layer in layers for parameter in layer.parameters()}
    for layer in layers:
        fully_shard(layer, mesh=over, shard_placement_fn=partial(choose_shard, ranks=over.size(-1)))
    return set()


def choose_shard(parameter: nn.Parameter, ranks: int) -> Shard | None:
    """The dimension to shard a parameter along over `ranks` processes: one that is not sharded yet.

    A dimension sharded twice would be a strided shard. None, which is the first dimension, if no other
    dimension divides.
    """
    cut = {place.dim for place in _placements(parameter) if isinstance(place, Shard)}
    if 0 not in cut:
        return None
    free = (dim for dim in range(parameter.ndim) if dim not in cut and parameter.shape[dim] % ranks == 0)
    dim = next(free, None)
    return None if dim is None else Shard(dim)


def _placements(parameter: nn.Parameter) -> tuple:
    return parameter.placements if isinstance(parameter, DTensor) else ()
