"""The whole gradient and its norm: one function for every layout."""

from collections import defaultdict
from collections.abc import Collection, Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor


@torch.no_grad()
def clip(
    parameters: Iterable[Tensor],
    largest: float | None,
    stages: dist.ProcessGroup | None = None,
    copies: Collection[Tensor] = (),
) -> Tensor:
    """Scale the gradient so that its norm is at most `largest`; return the norm before.

        g <- g min(1, c / |g|),   |g| = sqrt(sum over all parameters of |g_p|^2)     Pascanu et al. 2013

    Sharded gradients (DTensors) contribute their global norm, so that one process and many agree.
    Processes of `stages` hold different parameters; `copies` are scaled, but another process counts them.
    """
    layouts, uncounted = defaultdict(list), {id(parameter) for parameter in copies}
    scaled = []
    for parameter in parameters:
        if (gradient := parameter.grad) is not None:
            scaled.append(gradient.to_local() if isinstance(gradient, DTensor) else gradient)
            if id(parameter) not in uncounted:
                layouts[_spread(gradient)].append(scaled[-1])
    norms = [_norm(gradients, spread) for spread, gradients in layouts.items()]
    norm = torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.zeros(())
    if stages is not None:
        norm = _across(norm, stages)
    if largest is not None:
        scale = (largest / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(scaled, scale)
    return norm


def _spread(gradient: Tensor) -> tuple[tuple[DeviceMesh, int], ...]:
    """The axes of a mesh whose processes hold different slices of a gradient."""
    if not isinstance(gradient, DTensor):
        return ()
    axes = enumerate(gradient.placements)
    return tuple((gradient.device_mesh, axis) for axis, place in axes if not place.is_replicate())


def _norm(gradients: list[Tensor], spread: tuple[tuple[DeviceMesh, int], ...]) -> Tensor:
    """The norm of some gradients together, whose slices are spread alike."""
    norm = torch.nn.utils.get_total_norm(gradients)
    for mesh, axis in spread:
        norm = _across(norm, mesh.get_group(axis))
    return norm


def _across(norm: Tensor, group: dist.ProcessGroup) -> Tensor:
    """|g| = sqrt(sum over processes of |g_process|^2)."""
    square = norm.square()
    dist.all_reduce(square, group=group)
    return square.sqrt()


@torch.no_grad()
def complete(partial: Iterable[tuple[nn.Module, str, DeviceMesh]]) -> None:
    """Sum gradients of which each process of a mesh holds a part: one message for each mesh and dtype.

    A parameter is named by its module: sharding replaces the object.
    """
    messages = defaultdict(list)
    for module, name, mesh in partial:
        if (gradient := module.get_parameter(name).grad) is not None:
            local = gradient.to_local() if isinstance(gradient, DTensor) else gradient
            messages[mesh, local.dtype].append(local)
    for (mesh, _), gradients in messages.items():
        whole = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(whole, group=mesh.get_group())
        for gradient, total in zip(gradients, whole.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))
