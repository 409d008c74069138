"""The gradient of a step and its norm, with one implementation for every layout."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor

Spread = tuple[tuple[DeviceMesh, int], ...]


class Gradient:
    """The accumulated gradient of a step: its local shards, and norms and sums over all processes.

    Norms and sums are those of full tensors, also of sharded ones (DTensors), so that they are equal for one
    process and many. Processes of `stages` hold different parameters; `copies` are local parameters that
    another process counts.
    """

    def __init__(
        self, model: nn.Module, stages: dist.ProcessGroup | None = None, copies: Collection[Tensor] = ()
    ) -> None:
        self.model, self.stages = model, stages
        ids = {id(parameter) for parameter in copies}
        self.parameters = {name: p for name, p in model.named_parameters() if p.grad is not None}
        self.tensors = {name: p.grad for name, p in self.parameters.items() if p.grad is not None}
        self.copied = {name for name, p in self.parameters.items() if id(p) in ids}

    def local(self, names: Iterable[str] | None = None) -> list[Tensor]:
        """The local shards of some gradients (default: of all), to be changed in place."""
        wanted = self.tensors if names is None else names
        return [_local(self.tensors[name]) for name in wanted if name in self.tensors]

    def local_tensors(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        """The local shards of tensors that have the layout of parameters."""
        return [_local(tensor) for tensor in tensors.values()]

    def norm(self) -> Tensor:
        """|g| = sqrt(sum over all parameters of |g_p|^2)."""
        return self.norms(self.tensors, [self.tensors])[0]

    def norms(self, tensors: Mapping[str, Tensor], sets: Sequence[Collection[str]]) -> Tensor:
        """For each set of names the joint norm of these tensors, which have the layout of parameters.

        Every process passes equally many sets, in one order. Names that are not in this process count as 0.
        A copy that is not finite makes them all nan, though another process counts that parameter.
        """
        counted = self._select_counted(tensors)
        layouts = {spread: [_norm(held, names) for names in sets] for spread, held in counted.items()}
        norms = [_norm_over_axes(torch.stack(norms), spread) for spread, norms in layouts.items()]
        if not norms:
            norms = [torch.zeros(len(sets), device=_device(self.model))]
        norm = torch.linalg.vector_norm(torch.stack(norms), dim=0)
        for name in self.copied & tensors.keys():
            norm = torch.where(_local(tensors[name]).isfinite().all(), norm, torch.nan)
        return norm if self.stages is None else _norm_over_group(norm, self.stages)

    def sum(self, tensors: Mapping[str, Tensor], measure: Callable[[Tensor], Tensor]) -> Tensor:
        """The sum over all processes of `measure`, which maps a local tensor to a sum over its numbers."""
        total = torch.zeros((), dtype=torch.float64, device=_device(self.model))
        for spread, held in self._select_counted(tensors).items():
            share = torch.stack([measure(tensor).double() for tensor in held.values()]).sum()
            for mesh, axis in spread:
                dist.all_reduce(share, group=mesh.get_group(axis))
            total = total + share
        if self.stages is not None:
            dist.all_reduce(total, group=self.stages)
        return total

    def _select_counted(self, tensors: Mapping[str, Tensor]) -> dict[Spread, dict[str, Tensor]]:
        """The tensors that this process counts, by the mesh axes that shard them."""
        found: dict[Spread, dict[str, Tensor]] = defaultdict(dict)
        for name, tensor in tensors.items():
            if name not in self.copied:
                found[_spread(tensor)][name] = _local(tensor)
        return found


def _local(x: Tensor) -> Tensor:
    return x.to_local() if isinstance(x, DTensor) else x


def _device(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _spread(gradient: Tensor) -> Spread:
    """The mesh axes that shard a gradient."""
    if not isinstance(gradient, DTensor):
        return ()
    axes = enumerate(gradient.placements)
    return tuple((gradient.device_mesh, axis) for axis, place in axes if not place.is_replicate())


def _norm(held: Mapping[str, Tensor], names: Collection[str]) -> Tensor:
    """The joint norm of the local shards of some tensors."""
    some = [tensor for name, tensor in held.items() if name in names]
    first = next(iter(held.values()))
    return nn.utils.get_total_norm(some) if some else first.new_zeros(())


def _norm_over_axes(norms: Tensor, spread: Spread) -> Tensor:
    for mesh, axis in spread:
        norms = _norm_over_group(norms, mesh.get_group(axis))
    return norms


def _norm_over_group(norm: Tensor, group: dist.ProcessGroup) -> Tensor:
    """|g| = sqrt(sum over processes of |g_process|^2)."""
    square = norm.square()
    dist.all_reduce(square, group=group)
    return square.sqrt()


@torch.no_grad()
def complete(partial: Iterable[tuple[nn.Module, str, DeviceMesh]]) -> None:
    """Sum partial gradients over the processes of a mesh, with one message for each mesh and dtype.

    A parameter is given by module and name, since sharding replaces the object.
    """
    messages = defaultdict(list)
    for module, name, mesh in partial:
        if (gradient := module.get_parameter(name).grad) is not None:
            messages[mesh, gradient.dtype].append(_local(gradient))
    for (mesh, _), gradients in messages.items():
        whole = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(whole, group=mesh.get_group())
        for gradient, total in zip(gradients, whole.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))
