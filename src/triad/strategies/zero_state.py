"""The location of DeepSpeed 0.19's shards of weights and optimizer state.

Stages 1 and 2 concatenate all flattened weights of a parameter group and give each process one contiguous
slice, so that a weight may span processes; stage 3 pads and divides every weight separately. DeepSpeed's
`safe_get_full_optimizer_state` handles only the first of several parameter groups (0.19.8).
"""

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from triad.strategies.state import FlatSlice, Tensors


class Part(NamedTuple):
    """This process's part of one weight: `numel` numbers at `start` of the flat weight, `at` of `flat`."""

    flat: Tensor  # fp32, what the optimizer updates
    at: int
    start: int
    numel: int

    def slice_of(self, kept: Tensor) -> Tensor:
        """The same slice of a tensor with the layout of `flat`."""
        return kept.narrow(0, self.at, self.numel)


def group_numbers(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, int]:
    """The parameter group of each weight that is trained, by name.

    Call it before DeepSpeed replaces the weights.
    """
    index = {id(p): number for number, group in enumerate(optimizer.param_groups) for p in group["params"]}
    return {name: index[id(p)] for name, p in model.named_parameters() if p.requires_grad}


@torch.no_grad()
def tensors(model: nn.Module, zero: Any, group_numbers: dict[str, int]) -> Tensors:
    """As triad.strategies.state.tensors, with this process's FlatSlice of each sharded tensor.

    Nothing is copied or sent. In stages 1 and 2 every process has whole weights.
    """
    init_optimizer_state(zero)
    weights: dict[str, Any] = dict(model.state_dict())
    state: dict[str, Any] = {}
    for name, parameter in model.named_parameters():
        part, shape = part_of(zero, parameter, group_numbers.get(name)), shape_of(parameter)
        if hasattr(parameter, "ds_id"):
            weights[name] = FlatSlice(part.slice_of(part.flat), part.start, shape)
        for key, kept in zero.optimizer.state[part.flat].items() if name in group_numbers else ():
            like_flat = kept.shape == part.flat.shape
            state[f"state.{name}.{key}"] = (
                FlatSlice(part.slice_of(kept), part.start, shape) if like_flat else kept
            )
    return {"model": weights, "optimizer": state}


@torch.no_grad()
def synchronise_copies(model: nn.Module, zero: Any, group_numbers: dict[str, int]) -> None:
    """Update DeepSpeed's other copies of the weights after a checkpoint was loaded into `tensors`."""
    for name, parameter in model.named_parameters():
        part = part_of(zero, parameter, group_numbers.get(name))
        mine = part.slice_of(part.flat)
        if not hasattr(parameter, "ds_id"):
            mine.copy_(parameter.flatten().narrow(0, part.start, part.numel))
            continue
        parameter.ds_tensor.data.narrow(0, 0, part.numel).copy_(mine)
        if parameter.data.numel() == parameter.ds_numel:  # small weights stay whole in every process
            parameter.data.copy_(FlatSlice(mine, part.start, shape_of(parameter)).full_tensor())


def part_of(zero: Any, parameter: nn.Parameter, group: int | None) -> Part:
    """This process's part of a weight, which may be empty; a frozen one is in no group of the optimizer."""
    if group is None:
        shards = hasattr(parameter, "ds_id")  # in stage 3 these are divided, too
        flat = parameter.ds_tensor if shards else parameter.data.flatten()
        start = flat.numel() * dist.get_rank() if shards else 0
        return Part(flat, 0, start, max(0, min(flat.numel(), shape_of(parameter).numel() - start)))
    if hasattr(parameter, "ds_id"):  # stage 3
        subgroup, at, numel = zero.grad_position[zero.get_param_id(parameter)]
        start = numel * dist.get_rank()
        held = max(0, min(numel, parameter.ds_numel - start))  # the rest is padding
        return Part(zero.fp32_partitioned_groups_flat[subgroup], at, start, held)
    flat = zero.single_partition_of_fp32_groups[group]
    if parameter._hp_mapping is None:
        return Part(flat, 0, 0, 0)
    kept, mine = parameter._hp_mapping.hp_fragment_address, parameter._hp_mapping.lp_fragment_address
    return Part(flat, kept.start, mine.start, mine.numel)


def shape_of(parameter: nn.Parameter) -> torch.Size:
    """The shape of the whole weight."""
    return getattr(parameter, "ds_shape", parameter.shape)


@torch.no_grad()
def init_optimizer_state(zero: Any) -> None:
    """Make the optimizer's missing state, by a step with zero gradients and a learning rate of 0."""
    optimizer = zero.optimizer
    rates = [group["lr"] for group in optimizer.param_groups]
    flats = getattr(zero, "fp32_partitioned_groups_flat", None) or zero.single_partition_of_fp32_groups
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    for number, flat in enumerate(flats):
        if not optimizer.state.get(flat):
            gradient, flat.grad = flat.grad, torch.zeros_like(flat)
            zero._optimizer_step(number)
            flat.grad = gradient
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
