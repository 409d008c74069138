"""How activations enter and leave a layer that is split over processes.

Shapes: B batch, T time, D width. `...` stands for any dimensions.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed.device_mesh import DeviceMesh

from triad.strategies.torch_private import all_gather, all_reduce, reduce_scatter


class Border:
    """Entering and leaving split layers. Outside them every process has all activations, or (`over_time`) a
    slice of time.

        all: identity, its transpose a sum                   Shoeybi et al. 2019, arXiv:1909.08053, fig. 3
        slices: all-gather, its transpose a reduce-scatter   Korthikanti et al. 2022, arXiv:2205.05198, 4.2

    `enter` makes the full input of a split layer, `leave` sums the outputs of the slices. Time is sliced only
    while gradients are computed: otherwise no activations are stored, and one token cannot be divided.
    """

    def __init__(self, mesh: DeviceMesh, over_time: bool) -> None:
        # the mesh itself is not stored: it can be neither copied nor compiled
        self.group = mesh.get_group().group_name
        self.rank, self.size, self.over_time = mesh.get_local_rank(), mesh.size(), over_time

    def enter(self, x: Tensor) -> Tensor:
        """The full input of a layer; its gradient is the sum over slices (x_BTD over time, else x_...D)."""
        if self.cuts_time:
            return _map(x, self.gather, self.scatter)
        return _map(x, _identity, self.all_reduce_sum)

    def leave(self, y: Tensor) -> Tensor:
        """The sum of the outputs of a layer's slices; its gradient is the same for each."""
        if self.cuts_time:
            return _map(y, self.scatter, self.gather)
        return _map(y, self.all_reduce_sum, _identity)

    def join(self, x_BTD: Tensor) -> Tensor:
        """All of time, for a layer that every process computes identically; backward keeps the own slice."""
        return _map(x_BTD, self.gather, self.own_slice) if self.cuts_time else x_BTD

    def own_part(self, y_BTD: Tensor) -> Tensor:
        """The own slice of time of what every process has computed identically."""
        return _map(y_BTD, self.own_slice, self.gather) if self.cuts_time else y_BTD

    @property
    def cuts_time(self) -> bool:
        """Whether activations outside split layers are slices of time at present."""
        return self.over_time and torch.is_grad_enabled()

    def first_row(self, whole: int) -> int:
        """The first row of this process's slice, sliced as torch.chunk does."""
        return self.rank * self.rows_per_slice(whole)

    def rows_per_slice(self, whole: int) -> int:
        """The rows of every slice but the last, which may be smaller."""
        return -(-whole // self.size)

    def all_reduce_sum(self, x: Tensor) -> Tensor:
        return all_reduce(x, "sum", self.group)

    def all_reduce_max(self, x: Tensor) -> Tensor:
        return all_reduce(x, "max", self.group)

    def gather(self, x_BTD: Tensor) -> Tensor:
        return torch.cat(all_gather(x_BTD, self.size, self.group).chunk(self.size), dim=1)

    def scatter(self, x_BTD: Tensor) -> Tensor:
        return reduce_scatter(torch.cat(self._time_slices(x_BTD)), self.size, self.group)

    def own_slice(self, x_BTD: Tensor) -> Tensor:
        return self._time_slices(x_BTD)[self.rank].contiguous()

    def _time_slices(self, x_BTD: Tensor) -> tuple[Tensor, ...]:
        if x_BTD.shape[1] % self.size:
            raise ValueError(
                f"strategy.sequence_parallel: {x_BTD.shape[1]} tokens do not divide over"
                f" strategy.tensor={self.size} processes"
            )
        return x_BTD.chunk(self.size, dim=1)


class _LinearMap(torch.autograd.Function):
    """A linear map forward and its transpose backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Callable, back: Callable) -> Tensor:
        ctx.back = back
        return there(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple:
        return ctx.back(grad), None, None


def _map(x: Tensor, there: Callable, back: Callable) -> Tensor:
    return _LinearMap.apply(x, there, back)


def _identity(x: Tensor) -> Tensor:
    return x.view_as(x)
