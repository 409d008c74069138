"""What a step of each optimizer costs: time and memory against torch's fused AdamW, alone and under FSDP.

    python benchmarks/optimizers.py [optimizers=null] [rounds=20] [steps=3] [key=value of train.py ...]

`optimizers` are some of conf/optimizer, with commas between. Every optimizer and AdamW have copies of one
model's weights and the same gradients, in one process (one thread), then sharded over two processes of one
thread each. They take turns of `steps` steps; a ratio is of neighbouring turns, the median of `rounds`. One
more row is our Muon against torch.optim.Muon on the hidden matrices alone.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from triad.config.build import build
from triad.config.command_line import run_command
from triad.config.compose import compose
from triad.config.errors import Refusal
from triad.config.locations import CONF
from triad.hardware.device import describe
from triad.launch.rank import exit_together, quieten
from triad.launch.supervisor import launch
from triad.optim.initialise import initialise
from triad.optim.roles import decay_groups, roles

WORKER = "worker"  # the word that makes this file the program of one process
REFERENCE = "adamw"
NAMES = sorted(path.stem for path in (CONF / "optimizer").glob("*.yaml"))
WORDS = ("trainer.devices=1", "trainer.accelerator=cpu")
Found = dict[str, dict[str, float]]


class Contestant:
    """One optimizer with weights of its own."""

    def __init__(self, node: dict, model: nn.Module, make: Callable | None = None) -> None:
        self.model = model
        made = build({"optimizer": node})["optimizer"]
        self.optimizer = make(model) if make else made(decay_groups(model, node["weight_decay"]))

    def __call__(self, steps: int) -> float:
        """Seconds of some steps."""
        if dist.is_initialized():
            dist.barrier()
        began = time.perf_counter()
        for _ in range(steps):
            self.optimizer.step()
        return time.perf_counter() - began

    def state_bytes(self) -> int:
        """What the state takes in this process."""
        states = [x for state in self.optimizer.state.values() for x in state.values()]
        return sum(_local(x).numel() * x.element_size() for x in states if isinstance(x, Tensor))


def made(nodes: dict, sharded: bool) -> nn.Module:
    """A model with weights and gradients that follow from nothing but the configuration."""
    model = build({"model": nodes["model"]})["model"](vocab_size=nodes["vocab_size"])
    initialise(model, seed=0)
    generator = torch.Generator().manual_seed(1)
    gradients = {name: torch.randn(p.shape, generator=generator) for name, p in model.named_parameters()}
    if sharded:
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        fully_shard(model, mesh=mesh)
    for name, p in model.named_parameters():
        p.grad = gradients[name]
        if isinstance(p, DTensor):
            p.grad = distribute_tensor(gradients[name], p.device_mesh, p.placements, src_data_rank=None)
    return model


def turns(contestant: Contestant, reference: Contestant, rounds: int, steps: int) -> dict[str, float]:
    """Two that take turns, after one step that makes the state."""
    contestant(1)
    reference(1)
    pairs = [(contestant(steps), reference(steps)) for _ in range(rounds)]
    return {
        "ms": median(a for a, _ in pairs) * 1e3 / steps,
        "ratio": median(a / b for a, b in pairs),
        "bytes": contestant.state_bytes(),
        "reference_bytes": reference.state_bytes(),
    }


def measured(nodes: dict, rounds: int, steps: int, sharded: bool) -> Found:
    """Every optimizer against AdamW. Raises AssertionError if one does other work when it is sharded."""
    found = {}
    for name, node in nodes["optimizers"].items():
        ours = Contestant(node, made(nodes, sharded))
        found[name] = turns(ours, Contestant(nodes["reference"], made(nodes, sharded)), rounds, steps)
        if sharded:
            whole = Contestant(node, made(nodes, sharded=False))
            whole(1 + rounds * steps)
            assert_same_work(ours.model, whole.model, made(nodes, sharded=False))
    return found


def assert_same_work(sharded: nn.Module, whole: nn.Module, before: nn.Module) -> None:
    """The way that all weights together have gone is the same, to 1 %."""
    apart = moved = 0.0
    for p, q, start in zip(sharded.parameters(), whole.parameters(), before.parameters(), strict=True):
        full = p.full_tensor() if isinstance(p, DTensor) else p
        apart += (full - q).square().sum().item()
        moved += (q - start).square().sum().item()
    assert moved > 0, "nothing moved"
    assert apart <= 1e-4 * moved, f"sharded and whole weights went {(apart / moved) ** 0.5:.1%} apart"


def against_torch(nodes: dict, rounds: int, steps: int) -> float:
    """Our Muon's time over torch's, on the hidden matrices."""

    def matrices() -> nn.Module:
        model = made(nodes, sharded=False)
        kind = roles(model)
        for name, p in model.named_parameters():
            if kind[name] != "matrix":
                p.requires_grad_(False).grad = None
        return model

    def theirs(model: nn.Module) -> torch.optim.Optimizer:
        parameters = [p for p in model.parameters() if p.requires_grad]
        return torch.optim.Muon(parameters, lr=node["lr"], adjust_lr_fn=node["scale"])

    node = nodes["optimizers"]["muon"]
    found = turns(Contestant(node, matrices()), Contestant(node, matrices(), theirs), rounds, steps)
    return found["ratio"]


def worker(folder: Path) -> None:
    """One of two processes."""
    quieten()
    dist.init_process_group("gloo")
    asked = json.loads((folder / "asked.json").read_text())
    found = measured(asked["nodes"], asked["rounds"], asked["steps"], sharded=True)
    if dist.get_rank() == 0:
        (folder / "found.json").write_text(json.dumps(found))


def table(alone: Found, sharded: Found) -> str:
    """A row per optimizer."""
    heads = ("optimizer", "ms a step", "over fused AdamW", "state over AdamW's")
    heads += ("FSDP: ms", "over AdamW", "state over AdamW's")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, one in alone.items():
        cells = [name]
        for each in (one, sharded[name]):
            memory = each["bytes"] / each["reference_bytes"]
            cells += [f"{each['ms']:.2f}", f"{each['ratio']:.2f}", f"{memory:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def optimizers(
    overrides: list[str],
    optimizers: str | None = None,
    rounds: int = 20,
    steps: int = 3,
    vocab_size: int = 4096,
) -> None:
    """Time every optimizer's step against fused AdamW's, and weigh its state."""
    names = NAMES if optimizers is None else optimizers.split(",")
    if unknown := [name for name in names if name not in NAMES]:
        raise Refusal(f"optimizers={unknown[0]} is not known: use some of {', '.join(NAMES)}")
    nodes: dict[str, Any] = {"model": compose([*WORDS, *overrides])["model"], "vocab_size": vocab_size}
    nodes["optimizers"] = {name: _node(name) for name in names}
    nodes["reference"] = _node(REFERENCE)
    torch.set_num_threads(1)
    alone = measured(deepcopy(nodes), rounds, steps, sharded=False)
    with TemporaryDirectory() as place:
        asked = {"nodes": nodes, "rounds": rounds, "steps": steps}
        Path(place, "asked.json").write_text(json.dumps(asked))
        os.environ["OMP_NUM_THREADS"] = "1"
        if launch([sys.executable, __file__, WORKER, place], 2, threads=1):
            raise Refusal("a process failed, see above")
        sharded = json.loads(Path(place, "found.json").read_text())
    print(f"{describe(torch.device('cpu'))}, one thread a process, torch {torch.__version__}\n")
    print(table(alone, sharded))
    print("\nSame work: sharded weights went where whole ones went.")
    if "muon" in names:
        ratio = against_torch(nodes, rounds, steps)
        print(f"muon takes {ratio:.2f} of torch.optim.Muon's time (hidden matrices alone).")


def _node(name: str) -> dict:
    node = compose([*WORDS, f"optimizer={name}"])["optimizer"]
    return node | {"fused": False} if name == "sgd" else node  # torch's fused SGD knows no slices


def _local(x: Tensor) -> Tensor:
    return x.to_local() if isinstance(x, DTensor) else x


if __name__ == "__main__":
    if sys.argv[1:2] == [WORKER]:
        worker(Path(sys.argv[2]))
        exit_together(0)
    run_command(optimizers)
