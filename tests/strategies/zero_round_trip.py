"""One process per rank: what ZeRO keeps in parts, against one process that holds it whole."""

import sys
from argparse import Namespace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from triad.checkpoints.saving import write_checkpoint
from triad.checkpoints.tensors import load_tensors
from triad.launch.rank import exit_together
from triad.strategies import state as portable
from triad.strategies import zero_state as zero
from triad.strategies.deepspeed import autocast_settings, import_deepspeed, settings

RULES = {
    "adamw": partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1, fused=True),
    "sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
}
x_BD = torch.randn(6, 7, generator=torch.Generator().manual_seed(1))


def made(seed: int) -> nn.Module:
    """Weights of odd sizes: they straddle processes, or need padding."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(7, 5), nn.LayerNorm(5), nn.Linear(5, 3))


def optimizer(model: nn.Module, rule: str) -> torch.optim.Optimizer:
    """Two parameter groups, as everywhere in Triad."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    return RULES[rule]([{"params": matrices}, {"params": vectors, "weight_decay": 0.0, "lr": 0.02}])


class Zero:
    """A model under DeepSpeed's engine."""

    def __init__(self, seed: int, rule: str, stage: int, offload: bool) -> None:
        self.model = made(seed)
        inner = optimizer(self.model, rule)
        self.group_numbers = zero.group_numbers(self.model, inner)
        chosen = settings(stage, offload, offload and stage == 3)
        chosen |= {"torch_autocast": autocast_settings("32-true"), "gradient_clipping": 0.0}
        deepspeed: Any = import_deepspeed(torch.device("cpu"), dist.get_world_size())
        self.engine, self.optimizer, _, _ = deepspeed.initialize(
            args=Namespace(device_rank=0), model=self.model, optimizer=inner, config=chosen
        )

    def step(self) -> None:
        self.engine.backward(self.engine(x_BD).square().sum())
        self.engine.step()

    def tensors(self) -> portable.Tensors:
        return zero.tensors(self.model, self.optimizer, self.group_numbers)

    def full_tensor(self) -> portable.Tensors:
        return full_tensor(self.tensors())


def step(model: nn.Module, inner: torch.optim.Optimizer) -> None:
    model(x_BD).square().sum().backward()
    inner.step()
    inner.zero_grad()


def full_tensor(found: portable.Tensors) -> portable.Tensors:
    """Every part put together, and copied."""
    return {
        kind: {
            key: x.full_tensor() if isinstance(x, portable.FlatSlice) else x.clone()
            for key, x in values.items()
        }
        for kind, values in found.items()
    }


def same(found: portable.Tensors, expected: portable.Tensors) -> None:
    for part in ("model", "optimizer"):
        assert found[part].keys() == expected[part].keys(), found[part].keys() ^ expected[part].keys()
        for key, value in expected[part].items():
            torch.testing.assert_close(found[part][key], value, msg=lambda why, k=key: f"{k}: {why}")


def take_over(parts: "Zero", held: portable.Tensors) -> None:
    """Fill parts from a checkpoint of `held`, as a run that resumes does."""
    with TemporaryDirectory() as own:
        places = [own]
        dist.broadcast_object_list(places)
        path = Path(places[0], "step-00000001")
        write_checkpoint(path, held, {})
        dist.barrier()  # rank 0 gives it its name
        load_tensors(path, parts.tensors())
        dist.barrier()
    zero.synchronise_copies(parts.model, parts.optimizer, parts.group_numbers)


def round_trip(rule: str, stage: int, offload: bool) -> None:
    model = made(0)
    inner = optimizer(model, rule)
    parts = Zero(0, rule, stage, offload)
    for _ in range(2):
        step(model, inner)
        parts.step()
    same(parts.full_tensor(), portable.tensors(model, inner))
    other = Zero(9, rule, stage, offload)  # other weights: everything must come from what is loaded
    take_over(other, parts.tensors())
    same(other.full_tensor(), parts.full_tensor())
    with torch.no_grad():
        torch.testing.assert_close(other.model(x_BD), model(x_BD))
    step(model, inner)
    other.step()
    same(other.full_tensor(), portable.tensors(model, inner))


if __name__ == "__main__":
    dist.init_process_group("gloo")
    import_deepspeed(torch.device("cpu"), dist.get_world_size()).init_distributed(
        "gloo", auto_mpi_discovery=False, verbose=False
    )
    for word in sys.argv[1:]:
        rule, stage, offload = word.split("-")
        round_trip(rule, int(stage), offload == "offloaded")
    exit_together(0)
