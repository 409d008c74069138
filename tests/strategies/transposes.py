"""One of two processes: gradients of what is sent between them, against differences in double precision.

f maps the tensors of both processes to tensors of both; with fixed g the number L = sum over processes of
g . f(x) has a derivative in each number of each process's x, which backward must give. Where x is one tensor
that both hold, it is moved in both at once; where y is, it counts once.
"""

import sys
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from triad.launch.rank import exit_together
from triad.strategies import collectives as borders
from triad.strategies import context, expert

STEP = 1e-6


def checked(
    name: str, f: Callable[[Tensor], Tensor], x: Tensor, one_x: bool = False, one_y: bool = False
) -> None:
    """Every process calls this alike, with an x of its own; differences are of one number at a time."""
    if one_x:
        dist.broadcast(x, 0)
    y = f(x.requires_grad_())
    seed = 0 if one_y else dist.get_rank()
    g = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(seed))
    (gradient,) = torch.autograd.grad(y, x, g)
    differences = torch.zeros_like(gradient)
    for owner in range(dist.get_world_size()):
        mine = one_x or dist.get_rank() == owner
        for at in range(_size(x, owner)):
            ends = []
            for step in (STEP, -STEP):
                moved = x.detach().clone()
                if mine:
                    moved.view(-1)[at] += step
                total = (g * f(moved)).sum()
                dist.all_reduce(total)
                ends.append(total / dist.get_world_size() if one_y else total)
            if mine:
                differences.view(-1)[at] = (ends[0] - ends[1]) / (2 * STEP)
    torch.testing.assert_close(gradient, differences, rtol=1e-7, atol=1e-7, msg=lambda m: f"{name}: {m}")


def _size(x: Tensor, owner: int) -> int:
    size = torch.tensor(x.numel())
    dist.broadcast(size, owner)
    return int(size)


def checks(mesh: DeviceMesh) -> dict[type, Callable[[], None]]:
    """How each Function that sends something is checked."""
    group, rank = mesh.get_group(), dist.get_rank()
    torch.manual_seed(rank)
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64)  # noqa: E731
    sent, arriving = ([1, 2], [1, 3]) if rank == 0 else ([3, 1], [2, 1])

    def linear_maps() -> None:
        copies, stretches = borders.Border(mesh, over_time=False), borders.Border(mesh, over_time=True)
        checked("enter copies", copies.enter, draw(2, 2), one_x=True)
        checked("leave copies", copies.leave, draw(2, 2), one_y=True)
        checked("enter stretches", stretches.enter, draw(1, 2, 2))
        checked("leave stretches", stretches.leave, draw(1, 2, 2))
        checked("join", stretches.join, draw(1, 2, 2), one_y=True)
        checked("part", stretches.own_part, draw(1, 2, 2), one_x=True)

    return {
        borders._LinearMap: linear_maps,
        context._Gather: lambda: checked("gather", lambda x: context._Gather.apply(x, group), draw(2, 2)),
        expert._Exchange: lambda: checked(
            "exchange", lambda x: expert._Exchange.apply(x, sent, arriving, group), draw(sum(sent), 2)
        ),
    }


if __name__ == "__main__":
    dist.init_process_group("gloo")
    found = checks(init_device_mesh("cpu", (2,)))
    for word in sys.argv[1:]:
        (check,) = [check for function, check in found.items() if function.__name__ == word]
        check()
    exit_together(0)
