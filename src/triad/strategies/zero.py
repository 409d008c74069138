"""Where DeepSpeed 0.19 keeps its parts of weights and optimizer state, and how they become whole tensors.

Stages 1 and 2 lay all weights of a parameter group end to end and give each process one stretch of it, so
that a weight may lie in several processes; stage 3 cuts every weight by itself, padded, one part for each.
DeepSpeed's `safe_get_full_optimizer_state` knows only the first of several parameter groups (0.19.8).
"""

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from triad.strategies.portable import Tensors


class Part(NamedTuple):
    """This process's part of one weight: `numel` numbers at `start` of the flat weight, `at` of `flat`."""

    flat: Tensor  # fp32, what the optimizer updates
    at: int
    start: int
    numel: int

    def of(self, kept: Tensor) -> Tensor:
        """The same stretch of a tensor laid out like `flat`."""
        return kept.narrow(0, self.at, self.numel)


def groups(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, int]:
    """The parameter group of each weight by name: to be asked before DeepSpeed takes the weights away."""
    index = {id(p): number for number, group in enumerate(optimizer.param_groups) for p in group["params"]}
    return {name: index[id(parameter)] for name, parameter in model.named_parameters()}


@torch.no_grad()
def tensors(model: nn.Module, zero: Any, groups: dict[str, int]) -> Tensors:
    """What triad.strategies.portable.tensors would give for one process; every process gathers all of it."""
    awaken(zero)
    parameters = dict(model.named_parameters())
    buffers = {name: value for name, value in model.state_dict().items() if name not in parameters}
    weights = {name: value.clone() for name, value in buffers.items()}
    state: dict[str, Any] = {}
    for name, parameter in parameters.items():
        part = part_of(zero, parameter, groups[name])
        weights[name] = whole(parameter, part, part.flat)
        for key, kept in zero.optimizer.state[part.flat].items():
            laid_out = kept.shape == part.flat.shape
            state[f"state.{name}.{key}"] = whole(parameter, part, kept) if laid_out else kept.clone()
        for key, value in zero.optimizer.param_groups[groups[name]].items():
            if key != "params":
                state[f"param_groups.{name}.{key}"] = value
    return {"model": weights, "optimizer": state}


@torch.no_grad()
def restore(model: nn.Module, zero: Any, found: Tensors, groups: dict[str, int]) -> None:
    """Keep this process's part of whole tensors; every process must hold them."""
    awaken(zero)
    for name, parameter in model.named_parameters():
        part, weight = part_of(zero, parameter, groups[name]), found["model"][name]
        put(part, part.flat, weight)
        use(parameter, part, weight)
        for key, kept in zero.optimizer.state[part.flat].items():
            value = found["optimizer"][f"state.{name}.{key}"]
            if kept.shape == part.flat.shape:
                put(part, kept, value)
            else:
                kept.copy_(value)  # Adam's count of steps


def part_of(zero: Any, parameter: nn.Parameter, group: int) -> Part:
    """Where this process keeps its part of a weight, which may be empty."""
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


def whole(parameter: nn.Parameter, part: Part, kept: Tensor) -> Tensor:
    """All processes' parts of what is kept for a weight, put together in the host's memory of each."""
    shape = getattr(parameter, "ds_shape", parameter.shape)
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"  # parts may have been offloaded
    full = torch.zeros(shape.numel(), dtype=kept.dtype, device=device)
    full.narrow(0, part.start, part.numel).copy_(part.of(kept))
    dist.all_reduce(full)
    return full.view(shape).cpu()


def put(part: Part, kept: Tensor, full: Tensor) -> None:
    """Keep this process's part of a whole tensor."""
    part.of(kept).copy_(full.flatten().narrow(0, part.start, part.numel))


def use(parameter: nn.Parameter, part: Part, full: Tensor) -> None:
    """Let the forward pass see a weight: it works on a copy of what the optimizer updates."""
    if not hasattr(parameter, "ds_id"):
        parameter.data.copy_(full)
        return
    held = parameter.ds_tensor.data.narrow(0, 0, part.numel)
    held.copy_(full.flatten().narrow(0, part.start, part.numel))
    if parameter.data.numel() == full.numel():  # small weights stay whole in every process
        parameter.data.copy_(full)


@torch.no_grad()
def awaken(zero: Any) -> None:
    """Make the optimizer's state where there is none yet: a step by nothing, at a learning rate of 0."""
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
