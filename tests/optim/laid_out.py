"""One of some processes: every optimizer on parameters that are cut in several ways, against whole ones."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.optim import small
from triad.launch.rank import exit_together

STEPS = range(4)
WORDS = {"sgd": ["optimizer.fused=false"], "soap": ["optimizer.frequency=2"]}  # fused SGD is refused there
# The dimension that each axis cuts, of vectors, matrices and experts; None: a copy in each process.
LAYOUTS = {
    "FSDP": [(0, 0, 0)],
    "tensor parallel": [(None, 1, 2)],
    "expert parallel": [(None, None, 0)],
}
LAYOUTS_OF_FOUR = {
    "HSDP": [(None, None, None), (0, 0, 0)],
    "FSDP and tensor parallel": [(0, 1, 1), (None, 0, 2)],
    "FSDP and expert parallel": [(0, 0, 1), (0, 1, 0)],
    "twice along one dimension": [(0, 0, 0), (0, 0, 0)],
}


def lay_out(model: nn.Module, axes: list[tuple]) -> nn.Module:
    """Cut all parameters of a model."""
    shape = (dist.get_world_size(),) if len(axes) == 1 else (2, dist.get_world_size() // 2)
    mesh = init_device_mesh("cpu", shape)
    for module in model.modules():
        for name, p in list(module.named_parameters(recurse=False)):
            dims = [axis[p.ndim - 1] for axis in axes]
            places = [Replicate() if dim is None else Shard(dim) for dim in dims]
            cut = distribute_tensor(p.detach(), mesh, places, src_data_rank=None)
            setattr(module, name, nn.Parameter(cut))
    return model


def rows() -> nn.Module:
    """Matrices whose rows four processes can share, but two cannot share the columns of."""
    made = nn.Sequential(*(nn.Linear(5, 8, bias=False) for _ in range(3))).double()
    for number, layer in enumerate(made):
        nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(number))
    return made


def cut_twice(model: nn.Module) -> nn.Module:
    """Rows by tensor parallelism and then by FSDP: their stretches lie in torch's other order (strided)."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
    for layer in model:
        slices = distribute_tensor(layer.weight.detach(), mesh["tensor"], [Shard(0)], src_data_rank=None)
        layer.weight = nn.Parameter(slices)
    return fully_shard(model, mesh=mesh["data"])


def like(p: Tensor, gradient: Tensor) -> Tensor:
    return distribute_tensor(gradient, p.device_mesh, p.placements, src_data_rank=None)


def whole(x: Tensor) -> Tensor:
    return x.full_tensor() if isinstance(x, DTensor) else x


def compare(name: str, node: dict, layout: str, one: nn.Module, two: nn.Module) -> None:
    ones, twos = small.optimizer(one, node), small.optimizer(two, node)
    small.train(one, ones, STEPS)
    small.train(two, twos, STEPS, like)
    for (parameter, p), q in zip(one.named_parameters(), two.parameters(), strict=True):
        where = f"{name}, {layout}, {parameter}"
        torch.testing.assert_close(whole(q.detach()), p.detach(), msg=lambda m, w=where: f"{w}: {m}")
        assert ones.state[p].keys() == twos.state[q].keys()
        for key, value in ones.state[p].items():
            if value is not None:
                found = whole(twos.state[q][key])
                torch.testing.assert_close(found, value, msg=lambda m, w=where, k=key: f"{w}, {k}: {m}")
    if name == "muon" and "wide" in dict(two.named_children()):  # no process keeps more than its share
        matrix = two["wide"].weight
        assert twos.state[matrix]["momentum"].to_local().shape == matrix.to_local().shape


if __name__ == "__main__":
    dist.init_process_group("gloo")
    layouts = LAYOUTS if dist.get_world_size() == 2 else LAYOUTS_OF_FOUR
    for name in small.NAMES:
        node = small.node(name, *WORDS.get(name, []))
        for layout, axes in layouts.items():
            compare(name, node, layout, small.model(), lay_out(small.model(), axes))
        if dist.get_world_size() == 4:
            compare(name, node, "rows cut twice", rows(), cut_twice(rows()))
    exit_together(0)
