"""What a checkpoint costs: how long training waits, how long all of it takes, how much memory, by layout.

    python benchmarks/checkpoints.py [layouts=null] [saves=5] [key=value of train.py ...]

`layouts` are some of the names below, with commas between. Each trains a few steps and saves after each of
them; figures are medians over the saves behind the first, which makes its room. Each is held against two
plain things done to the same state in the same process: copying it to the host's memory, and torch.save with
a flush. Memory is what a process needs on top of what it has, at its peak, in copies of the whole state; when
loading, Adam's state (2/3 of what it holds) and gradients of zero (1/3), which make it, are among it.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, ClassVar
from unittest import mock

import torch
from lightning.pytorch import Trainer
from torch.distributed.tensor import DTensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from train import train
from triad.callbacks.checkpoint import Checkpoint
from triad.checkpoints.folder import list_complete, read_facts
from triad.config.command_line import run_command
from triad.config.compose import compose
from triad.config.errors import Refusal
from triad.hardware.device import describe
from triad.launch.rank import exit_together, run_rank
from triad.launch.supervisor import launch
from triad.runs.directory import Run
from triad.runs.start import prepare_run
from triad.strategies.state import FlatSlice

WORKER = "worker"  # the word that makes this file the program of one process
WORDS = (
    "data=text",
    "tokenizer=byte",
    "precision=fp32",
    "hardware.attention=flash",
    "trainer.accelerator=cpu",
    "trainer.val_check_interval=1000000",
    "trainer.limit_val_batches=0",
    "logger=csv",
    "scheduler=constant",
    "scheduler.warmup=0",
    "batch.size=4",
    "context=32",
    "model.width=512",
    "model.depth=5",
    "callbacks.checkpoint.every_steps=1",
    "callbacks.checkpoint.keep=99",
)
LAYOUTS = {
    "single": ("strategy=single", "trainer.devices=1"),
    "ddp": ("strategy=ddp", "trainer.devices=2"),
    "fsdp": ("strategy=fsdp", "trainer.devices=2"),
    "tensor": ("strategy=tensor", "trainer.devices=2"),
    "1f1b": ("strategy=pipeline", "trainer.devices=2"),
    "deepspeed-3": ("strategy=deepspeed", "strategy.stage=3", "trainer.devices=2"),
}


def memory(field: str) -> int:
    """Bytes that this process has in memory now (VmRSS) or had at most since the last reset (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) << 10


def peak(work: Callable[[], None]) -> int:
    """Bytes that some work needs at most on top of what is there before it."""
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    work()
    return max(0, memory("VmHWM") - before)


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class Watched(Checkpoint):
    """Measures each save, waits for its end, and then does the two plain things to the same state."""

    found: ClassVar[dict[str, Any]] = {"copy_s": [], "torch_save_s": [], "saved_s": [], "waited_s": []}

    def save(self, trainer: Trainer, task: Any) -> None:
        first = not self.found["copy_s"]
        state = _state(trainer, task)
        held = [_here(x) for x in state]
        self.found["state_bytes"] = sum(
            x.size().numel() * h.element_size() for x, h in zip(state, held, strict=True)
        )
        self.found["held_bytes"] = sum(x.numel() * x.element_size() for x in held)

        def work() -> None:
            super(Watched, self).save(trainer, task)
            self.saver.wait()

        needed = peak(work) if first else work()
        if first:
            self.found["save_peak_bytes"] = needed
        room = [torch.empty_like(x) for x in held] if first else self.room
        self.room = room
        for x, y in zip(held, room, strict=True):
            y.copy_(x)
        self.found["copy_s"].append(timed(lambda: [y.copy_(x) for x, y in zip(held, room, strict=True)]))
        self.found["torch_save_s"].append(timed(lambda: _torch_save(held, self.folder.parent)))

    def _load(self, *arguments: Any) -> None:
        self.found["load_peak_bytes"] = peak(lambda: super(Watched, self)._load(*arguments))


def _state(trainer: Trainer, task: Any) -> list[torch.Tensor | FlatSlice]:
    """All that a checkpoint holds, as this process knows it."""
    strategy: Any = trainer.strategy
    kinds = strategy.tensors(task.model, trainer.optimizers[0]).values()
    return [x for kind in kinds for x in kind.values()]


def _here(x: torch.Tensor | FlatSlice) -> torch.Tensor:
    """What of a tensor is this process's."""
    if isinstance(x, FlatSlice):
        return x.flat
    return x.to_local() if isinstance(x, DTensor) else x


def _torch_save(held: list[torch.Tensor], folder: Path) -> None:
    path = folder / f"plain-{os.environ['RANK']}.pt"
    with path.open("wb") as file:
        torch.save(held, file)
        file.flush()
        os.fsync(file.fileno())
    path.unlink()


def worker(run: Path) -> int:
    """One process: train and save, then write what was found."""
    number = os.environ["RANK"]
    watched = mock.patch("triad.callbacks.checkpoint.Checkpoint", Watched)
    with (run / f"output-{number}.txt").open("a") as file, redirect_stdout(file), watched:
        code = run_rank(train, Run(run))
    path = run / f"found-{number}.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(
        json.dumps(Watched.found | before | {"load_peak_bytes": Watched.found.get("load_peak_bytes")})
    )
    return code


def measured(words: list[str], name: str, folder: Path, saves: int) -> dict[str, Any]:
    """Train, save and load one layout: what its first process found, and what the checkpoints say."""
    run = folder / name
    asked = [*WORDS, *LAYOUTS[name], f"run_id={name}", f"output_dir={folder}", *words]
    for steps in (saves + 1, saves + 2):  # the second start loads
        config = compose([*asked, f"trainer.max_steps={steps}"])
        ranks = config["trainer"]["devices"]
        prepare_run(config, asked)
        if launch([sys.executable, __file__, WORKER, str(run)], ranks, threads=1):
            raise Refusal((run / "error.txt").read_text().strip().splitlines()[-1])
        if steps == saves + 1:
            said = [read_facts(path) for path in list_complete(run / "checkpoints")[1:]]
    found = json.loads((run / "found-0.json").read_text())
    return found | {"said": said, "ranks": ranks}


def row(name: str, found: dict[str, Any]) -> str:
    """A line of the table."""
    blocked_s = median(facts["blocked_s"] for facts in found["said"])
    saved_s = median(facts["saved_s"] for facts in found["said"])
    whole = found["state_bytes"]
    copy_s, plain_s = median(found["copy_s"]), median(found["torch_save_s"])
    return (
        f"| {name} | {found['held_bytes'] / 1e6:.0f} of {whole / 1e6:.0f} | {1e3 * blocked_s:.0f} "
        f"| {1e3 * copy_s:.0f} | {saved_s:.2f} | {plain_s:.2f} | {whole / saved_s / 1e6:.0f} "
        f"| {found['ranks'] * found['held_bytes'] / plain_s / 1e6:.0f} "
        f"| {found['save_peak_bytes'] / whole:.2f} | {found['load_peak_bytes'] / whole:.2f} |"
    )


def checkpoints(overrides: list[str], layouts: str | None = None, saves: int = 5) -> None:
    """Time saving in several layouts."""
    names = list(LAYOUTS) if layouts is None else layouts.split(",")
    if unknown := [name for name in names if name not in LAYOUTS]:
        raise Refusal(f"layouts={unknown[0]} is not known: use some of {', '.join(LAYOUTS)}")
    with TemporaryDirectory() as place:
        text = Path(place, "text.txt")
        text.write_text("".join(f"{n} squared is {n * n}; its half is {n // 2}.\n" for n in range(9000)))
        with mock.patch.dict(os.environ, {"TRIAD_CACHE": f"{place}/cache", "OMP_NUM_THREADS": "1"}):
            words = [f"data.path={text}", *overrides]
            lines = [row(name, measured(words, name, Path(place), saves)) for name in names]
    torch.set_num_threads(1)
    print(f"{describe(torch.device('cpu'))} a process, torch {torch.__version__}; medians of {saves} saves\n")
    heads = ("layout", "MB held of all", "waited ms", "plain copy ms", "saved s", "torch.save s", "MB/s")
    heads += ("torch.save MB/s", "copies to save", "copies to load")
    print(f"| {' | '.join(heads)} |\n" + "|---" * len(heads) + "|")
    print("\n".join(lines))


if __name__ == "__main__":
    if sys.argv[1:2] == [WORKER]:
        exit_together(worker(Path(sys.argv[2])))
    run_command(checkpoints)
