"""The tensors of a checkpoint under single-device names, whatever their layout."""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    MetadataIndex,
    TensorProperties,
)
from torch.distributed.checkpoint.planner import TensorWriteData, WriteItem, WriteItemType

from triad.layers.parameters import plain_name

Tensors = dict[str, dict[str, Any]]


def tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> Tensors:
    """Weights by `name` and optimizer state by `state.name.key`: the tensors themselves, not copies.

    Hyperparameters of the optimizer are left out: they follow from the configuration and the step. Raises
    TypeError for an optimizer that keeps something other than tensors.
    """
    init_optimizer_state(optimizer)
    learned = weights(model)  # first: it makes FSDP2 restore its sharded parameters
    names = {parameter: plain_name(name) for name, parameter in model.named_parameters()}
    state: dict[str, Any] = {}
    for parameter, name in names.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                state[f"state.{name}.{key}"] = value
            elif value is not None:  # SGD without momentum keeps None
                raise TypeError(f"{type(optimizer).__name__} keeps {key}={value!r}, which is no tensor")
    return {"model": learned, "optimizer": state}


def weights(model: nn.Module) -> dict[str, Tensor]:
    """A model's parameters and buffers by name."""
    return {plain_name(name): tensor for name, tensor in model.state_dict().items()}


@torch.no_grad()
def init_optimizer_state(optimizer: torch.optim.Optimizer) -> None:
    """Make the state of an optimizer without one, by a step with zero gradients and a rate of 0."""
    if optimizer.state:
        return
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


@dataclass
class FlatSlice:
    """A contiguous slice of a flattened tensor, from number `start`: ZeRO's shards.

    torch.distributed.checkpoint calls the double-underscored methods to get its parts as boxes, given by
    first index and size in each dimension.
    """

    flat: Tensor  # (numbers,), a view of what the optimizer updates
    start: int
    shape: torch.Size

    def __post_init__(self) -> None:
        self.flat = self.flat.detach()

    @cached_property  # when it is written, in the background
    def parts(self) -> dict[torch.Size, Tensor]:
        """The boxes that the slice consists of, by first index."""
        found, at = {}, 0
        for first, size in boxes(tuple(self.shape), self.start, self.start + len(self.flat)):
            found[torch.Size(first)] = self.flat.narrow(0, at, prod(size)).view(size)
            at += prod(size)
        return found

    def size(self) -> torch.Size:
        return self.shape

    def __create_chunk_list__(self) -> list[ChunkStorageMetadata]:
        return [ChunkStorageMetadata(first, part.shape) for first, part in self.parts.items()]

    def __create_write_items__(self, name: str, _: Any) -> list[WriteItem]:
        properties = TensorProperties.create_from_tensor(self.flat)
        return [
            WriteItem(
                MetadataIndex(name, chunk.offsets),
                WriteItemType.SHARD,
                tensor_data=TensorWriteData(chunk, properties, self.shape),
            )
            for chunk in self.__create_chunk_list__()
        ]

    def __get_tensor_shard__(self, index: MetadataIndex) -> Tensor:
        assert index.offset is not None
        return self.parts[index.offset]

    def full_tensor(self) -> Tensor:
        """The tensor gathered from the slices of all processes."""
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"  # parts may have been offloaded
        full = torch.zeros(self.shape.numel(), dtype=self.flat.dtype, device=device)
        full.narrow(0, self.start, len(self.flat)).copy_(self.flat)
        dist.all_reduce(full)
        return full.view(self.shape)


Box = tuple[tuple[int, ...], tuple[int, ...]]  # first index and size in each dimension


def boxes(shape: tuple[int, ...], start: int, stop: int) -> list[Box]:
    """The numbers `start` to `stop` (exclusive) of a flattened tensor as boxes, in order.

    A matrix gives at most three: the end of a row, whole rows, and the beginning of a row.
    """
    if start == stop:
        return []
    if len(shape) < 2:
        return [((start,), (stop - start,))] if shape else [((), ())]
    row, found = prod(shape[1:]), []
    while start < stop:
        number, within = divmod(start, row)
        if rows := 0 if within else (stop - start) // row:
            found.append(((number, *(0 for _ in shape[1:])), (rows, *shape[1:])))
            start += rows * row
        else:
            end = min(row, within + stop - start)
            inner = boxes(shape[1:], within, end)
            found += [((number, *first), (1, *size)) for first, size in inner]
            start += end - within
    return found
