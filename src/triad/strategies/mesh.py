"""Any product of parallelisms over one mesh of processes.

Axes, outermost first: pipeline, data_replicate, data_shard, context, expert, tensor. Neighbouring ranks
differ in the last, whose messages are the largest.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from math import prod
from typing import Any

import torch.distributed as dist
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule

from triad.config.processes import DATA_AXES
from triad.optim.gradient import Gradient, complete
from triad.strategies import context, expert, tensor
from triad.strategies.context import Zigzag
from triad.strategies.fsdp import shard
from triad.strategies.state import tensors
from triad.strategies.torch_private import combine_meshes, flatten_axes

AXES = ("pipeline", "data_replicate", "data_shard", "context", "expert", "tensor")


class Mesh(ModelParallelStrategy):
    """Split rows over data_replicate x data_shard x expert, time over context, and the model over the rest.

    `data_replicate` processes hold copies, `data_shard` processes hold slices of everything (FSDP2),
    `expert` processes hold different experts, `context` processes different chunks of every sequence,
    `tensor` processes slices of every matrix and `pipeline` processes different blocks. Parameters are also
    sharded over context and expert, whose processes hold the same ones with other tokens. The number of
    processes is the product of all.
    """

    def __init__(
        self,
        data_replicate: int,
        data_shard: int,
        context: int,
        expert: int,
        tensor: int,
        pipeline: int,
        sequence_parallel: bool,
        schedule: str,
    ) -> None:
        super().__init__()
        self.degrees = {
            "pipeline": pipeline,
            "data_replicate": data_replicate,
            "data_shard": data_shard,
            "context": context,
            "expert": expert,
            "tensor": tensor,
        }
        self.sequence_parallel, self.schedule = sequence_parallel, schedule
        self.meshes: dict[str, DeviceMesh] = {}  # until setup_environment
        self.pipeline: Any = None  # until parallelize
        self.partial: list[tuple[nn.Module, str, DeviceMesh]] = []  # gradients to sum over a mesh
        self.zigzag: Zigzag | None = None  # where sequences are split over time

    def setup_environment(self) -> None:
        """Start the process group and lay out the mesh."""
        self._setup_distributed()
        self.meshes = build_meshes(self.root_device.type, self.degrees)
        self._device_mesh = self.meshes["world"]  # Lightning's name for it

    @property
    def data_rank(self) -> int:
        rank = 0
        for axis in DATA_AXES:
            rank = rank * self.degrees[axis] + self.meshes[axis].get_local_rank()
        return rank

    @property
    def data_ranks(self) -> int:
        return prod(self.degrees[axis] for axis in DATA_AXES)

    gradient_scale = 1  # gradients are summed
    tensors = staticmethod(tensors)  # of a checkpoint

    def parallelize(self, model: nn.Module) -> None:
        """Split a model that is on the meta device."""
        if self.degrees["tensor"] > 1:
            mesh = self.meshes["tensor"]
            parts = tensor.split(model, mesh, self.sequence_parallel, self.degrees["expert"] == 1)
            self.partial += [(module, name, mesh) for module, name in parts]
        if self.degrees["expert"] > 1:
            expert.split(model, self.meshes["expert"])
        if self.degrees["context"] > 1:
            self.zigzag = context.split(model, self.meshes["context"])
        if self.degrees["pipeline"] == 1:
            shard(model, self.meshes)
            return
        for stage in self._cut(model):
            shard(stage, self.meshes)
            if isinstance(stage, FSDPModule):
                # gathered once a step: schedules that compute gradients of weights apart from those of inputs
                # (zero_bubble, zbv, dualpipev) lose them if the weights have been freed in between
                stage.set_reshard_after_forward(False)

    def _cut(self, model: nn.Module) -> list[nn.Module]:
        # imported late: most layouts have no stages
        from triad.strategies.pipeline import Pipeline

        task: Any = self.lightning_module
        self.pipeline = Pipeline(
            model,
            self.meshes["pipeline"],
            self.schedule,
            self.root_device,
            task.objective,
            task.hardware.micro_batch_size,
            self.precision_plugin,
        )
        return list(self.pipeline.stages.values())

    def batch_to_device(self, batch: dict, device: Any = None, dataloader_idx: int = 0) -> dict:
        """Move a batch to the device, and select this process's chunks of the sequences.

        starts_BT stay those of whole sequences: attention needs them for the keys that it gathers. The first
        row is kept whole, too, as "first_row": samples continue its beginning.
        """
        batch = super().batch_to_device(batch, device, dataloader_idx)
        if self.zigzag:
            self.zigzag.on = True
            split = {name: batch[name] for name in ("tokens_BT", "targets_BT")}
            first = {name: rows[:1] for name, rows in split.items()}
            batch = (
                batch | {name: self.zigzag.part(rows) for name, rows in split.items()} | {"first_row": first}
            )
        return batch

    def micro_batch(self, last: bool) -> AbstractContextManager:
        """Gradients accumulate unreduced until the last micro-batch reduces them."""
        assert self.model is not None
        for module in self.model.modules():
            if isinstance(module, FSDPModule):
                module.set_requires_gradient_sync(last, recurse=False)
        return nullcontext()

    def clip(self, model: nn.Module, rule: Callable[[Gradient], Tensor]) -> Tensor:
        """Apply a rule, such as clipping, to the sharded gradient; return its norm before."""
        complete(self.partial)
        if self.pipeline is None:
            return rule(Gradient(model))
        self.pipeline.add_tied()
        stages = self.meshes["pipeline"].get_group()
        return rule(Gradient(model, stages, self.pipeline.copies))

    def all_reduce(self, share: Tensor) -> Tensor:
        """The sum over all processes that hold different tokens or blocks."""
        share = share.clone()
        dist.all_reduce(share, group=self.meshes["share"].get_group())
        return share

    def full_model(self, model: nn.Module) -> nn.Module:
        """The model, for calls with whole sequences, as in generation."""
        if self.zigzag:
            self.zigzag.on = False  # until the next batch
        return model


def build_meshes(device: str, degrees: dict[str, int]) -> dict[str, DeviceMesh]:
    """The mesh of each axis, and of products of axes over which something is summed or sharded.

    `dense` and `sparse` shard all parameters and those of experts (with a replicate axis if there are
    copies); losses are summed over `share`; `world` is the whole mesh.
    """
    mesh = init_device_mesh(device, tuple(degrees[axis] for axis in AXES), mesh_dim_names=AXES)
    found = {"world": mesh} | {axis: mesh[axis] for axis in AXES}
    found["dense"] = flatten_axes(mesh, ("data_shard", "context", "expert"), "dense")
    found["sparse"] = flatten_axes(mesh, ("data_shard", "context"), "sparse")
    found["share"] = flatten_axes(
        mesh, ("pipeline", "data_replicate", "data_shard", "context", "expert"), "share"
    )
    if degrees["data_replicate"] > 1:
        for name in ("dense", "sparse"):
            found[name] = combine_meshes(mesh["data_replicate"], found[name])
    return found
