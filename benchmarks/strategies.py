"""What a layout costs: a step of two processes against one process that does half of it, or on one GPU.

    python benchmarks/strategies.py [device=null] [layouts=null] [rounds=3] [steps=10] [warm_up=4] [batch=8]
                                    [key=value of train.py ...]

`device` is cpu or gpu; null: gpu where there is one. `layouts` are some of the names below, with commas
between. On a CPU every process has one thread. Each layout takes turns with one process that trains half the
batch: all do the same work per process, and what a layout adds is the ratio of their steps. Two processes by
themselves, each with half the batch and nothing to say, show how much of it is the machine's doing. The GPU
half is benchmarks/one_gpu.py, where `batch` does not count.
"""

import gc
import os
import sys
import time
from collections.abc import Iterable
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest import mock

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import one_gpu
from benchmarks.loop import COMMON, spread
from train import train
from triad.config.command_line import run_command
from triad.config.compose import compose
from triad.config.errors import Refusal
from triad.hardware.device import describe
from triad.hardware.device import device as device_of
from triad.launch.rank import exit_together, run_rank
from triad.launch.supervisor import launch
from triad.runs.directory import Run
from triad.runs.metrics import read_metrics
from triad.runs.start import prepare_run

SHAPE = ("context=256", "model.width=256", "model.depth=4", "model.attention.heads=4")
RHYTHM = ("trainer.log_every_n_steps=1", "scheduler=constant", "optimizer.lr=1e-3")
WORKER = "worker"  # the word that makes this file the program of one process
AGREEMENT = 1e-3  # of losses, relative: fp32, another order of sums at every step


class Layout(NamedTuple):
    """What train.py is told, and whether its processes share one batch or have half of it each."""

    words: tuple[str, ...]
    model: str = "decoder"
    shared: bool = True


ALONE = Layout(("strategy=single",), shared=False)
PIPELINE = ("strategy=pipeline", "hardware.micro_batch_size=1")
LAYOUTS = {
    "two alone": ALONE,
    "ddp": Layout(("strategy=ddp",)),
    "fsdp": Layout(("strategy=fsdp",)),
    "tensor": Layout(("strategy=tensor",)),
    "tensor-sequence": Layout(("strategy=tensor", "strategy.sequence_parallel=true")),
    "context": Layout(("strategy=context",)),
    "1f1b": Layout((*PIPELINE, "strategy.schedule=1f1b")),
    "zero_bubble": Layout((*PIPELINE, "strategy.schedule=zero_bubble")),
    "deepspeed-2": Layout(("strategy=deepspeed", "strategy.stage=2")),
    "deepspeed-3": Layout(("strategy=deepspeed", "strategy.stage=3")),
    "moe, two alone": ALONE._replace(model="moe"),
    "moe, ddp": Layout(("strategy=ddp",), "moe"),
    "moe, expert": Layout(("strategy=expert",), "moe"),
}


class Pair(NamedTuple):
    """Milliseconds a step of a layout, and of one process with half the batch just before it."""

    ms: float
    one_ms: float

    @property
    def ratio(self) -> float:
        return self.ms / self.one_ms


class Course(NamedTuple):
    """How the runs of a comparison are alike."""

    folder: Path
    words: tuple[str, ...]
    batch: int
    warm_up: int

    def prepared(self, layout: Layout, name: str, processes: int) -> Path:
        """Write the run directory of a layout; only its figures are kept."""
        size = self.batch if layout.shared else self.batch // 2
        devices = processes if layout.shared else 1
        words = [*COMMON, f"model={layout.model}", *SHAPE, *RHYTHM, *layout.words, *self.words]
        words += [f"batch.size={size}", f"trainer.devices={devices}"]
        words += [f"run_id={name}", f"output_dir={self.folder}"]
        config = compose(words)
        config["callbacks"] = {"metrics": config["callbacks"]["metrics"]}
        config["logger"] = {"csv": config["logger"]["csv"]}
        return prepare_run(config, words).path


def worker(one: Path, both: Path) -> int:
    """One process: the first trains alone while the other sits still, then both train."""
    number = os.environ["RANK"]
    if number != "0":
        _wait_for(one / "done")
    for run in (one, both) if number == "0" else (both,):
        twin = run / "twin"  # of a process that shares nothing with the other
        own = twin.resolve() if number != "0" and twin.exists() else run
        with (own / f"output-{number}.txt").open("w") as file, redirect_stdout(file):
            if code := run_rank(train, Run(own)):
                return code
        (own / "done").touch()
        gc.collect()
    return 0


def _wait_for(path: Path) -> None:
    while not path.exists():  # whoever writes it ends this process, too, when it fails
        time.sleep(0.05)


def one_round(course: Course, names: Iterable[str], number: int) -> dict[str, Pair]:
    """Each layout once, behind one process that does half its work."""
    runs = {name: turn(course, LAYOUTS[name], f"{number}-{place}") for place, name in enumerate(names)}
    _assert_same_work({name: both for name, (_, both) in runs.items() if LAYOUTS[name].shared})
    return {
        name: Pair(step_ms(both, course.warm_up), step_ms(one, course.warm_up))
        for name, (one, both) in runs.items()
    }


def turn(course: Course, layout: Layout, title: str) -> tuple[Path, Path]:
    """Run one process alone and then a layout, in two processes of their own.

    New ones each time: what a layout leaves behind (gloo's threads wake 100 times a second) slows the next.
    """
    one = course.prepared(ALONE._replace(model=layout.model), f"{title}-one", 1)
    both = course.prepared(layout, f"{title}-both", 2)
    if not layout.shared:
        (both / "twin").symlink_to(course.prepared(layout, f"{title}-twin", 1))
    if launch([sys.executable, __file__, WORKER, str(one), str(both)], ranks=2, threads=1):
        raise Refusal(_last_words(course.folder))
    return one, both


def step_ms(run: Path, warm_up: int) -> float:
    """The median step of a run, behind those that warm up."""
    spent_s = [row["perf/train_s"] for row in read_metrics(run / "metrics.csv") if "perf/train_s" in row]
    return 1e3 * median(b - a for a, b in zip(spent_s[warm_up - 1 :], spent_s[warm_up:], strict=False))


def _last_words(folder: Path) -> str:
    said = [path.read_text(encoding="utf-8").strip() for path in folder.glob("*/error.txt")]
    return said[0].splitlines()[-1] if said else "a process ended before its time"


def _assert_same_work(runs: dict[str, Path]) -> None:
    """Equal losses at every step in all layouts of a model that see the same batches."""
    losses = {
        name: torch.tensor([row["train/loss"] for row in read_metrics(run / "metrics.csv")])
        for name, run in runs.items()
    }
    for name, found in losses.items():
        first = next(other for other in losses if LAYOUTS[other].model == LAYOUTS[name].model)
        apart = f"losses of {name} and {first} differ"
        torch.testing.assert_close(
            found, losses[first], rtol=AGREEMENT, atol=0, msg=lambda said, apart=apart: f"{apart}: {said}"
        )


def table(rounds: list[dict[str, Pair]]) -> str:
    """A row per layout: against one process just before, and against two alone in the same round."""
    lines = [
        "| layout, 2 processes | ms a step | one process, half the batch, ms | ratio | ratio to two alone |",
        "|---|---|---|---|---|",
    ]
    for name in rounds[0]:
        found = [each[name] for each in rounds]
        alone = "moe, two alone" if LAYOUTS[name].model == "moe" else "two alone"
        beside = [each[name].ms / each[alone].ms for each in rounds if alone in each]
        lines.append(
            f"| {name} | {spread([pair.ms for pair in found], 0)} "
            f"| {spread([pair.one_ms for pair in found], 0)} | {spread([pair.ratio for pair in found], 2)} "
            f"| {spread(beside, 2) if beside else ''} |"
        )
    return "\n".join(lines) + "\n"


def chosen(layouts: str | None) -> list[str]:
    """The names asked for, or all that can run here."""
    names = list(LAYOUTS) if layouts is None else layouts.split(",")
    if unknown := [name for name in names if name not in LAYOUTS]:
        raise Refusal(f"layouts={unknown[0]} is not known: use some of {', '.join(LAYOUTS)}")
    if find_spec("deepspeed") is None:
        left_out = [name for name in names if name.startswith("deepspeed")]
        names = [name for name in names if name not in left_out]
        if left_out:
            print(f"Left out, as the package deepspeed is not installed: {', '.join(left_out)}\n")
    return names


def on_cpu(
    words: tuple[str, ...], names: list[str], rounds: int, steps: int, warm_up: int, batch: int
) -> None:
    """Two processes of one thread each."""
    if batch % 2:
        raise Refusal(f"batch={batch}: two processes take half of it each, so let it be even")
    with TemporaryDirectory() as folder:
        text = Path(folder, "text.txt")
        text.write_text("".join(f"{n} squared is {n * n}; its half is {n // 2}.\n" for n in range(9000)))
        length = f"trainer.max_steps={warm_up + steps}"
        course = Course(Path(folder, "runs"), (f"data.path={text}", length, *words), batch, warm_up)
        alone = {"TRIAD_CACHE": f"{folder}/cache", "OMP_NUM_THREADS": "1"}
        with mock.patch.dict(os.environ, alone):
            measured = [one_round(course, names, number) for number in range(rounds)]
    torch.set_num_threads(1)
    print(f"{describe(torch.device('cpu'))} a process, torch {torch.__version__}; {rounds} rounds")
    print(f"of {steps} steps behind {warm_up} that warm up, batch {batch}; median (least..most)\n")
    print(table(measured))
    print("Same work: all layouts of a model have the same losses.")


def strategies(
    overrides: list[str],
    device: str | None = None,
    layouts: str | None = None,
    rounds: int = 3,
    steps: int = 10,
    warm_up: int = 4,
    batch: int = 8,
) -> None:
    """Time layouts: on a CPU two processes against one with half the batch, on a GPU against a bare loop."""
    if device not in (None, "cpu", "gpu"):
        raise Refusal(f"device={device}: cpu or gpu, or null for a GPU where there is one")
    if device == "gpu" or (device is None and torch.cuda.is_available()):
        one_gpu.compare(overrides, device_of("gpu"), rounds, steps, warm_up)
        return
    on_cpu(tuple(overrides), chosen(layouts), rounds, steps, warm_up, batch)
    print("No GPU was looked at: device=gpu compares single and fsdp with a bare loop on one.")


if __name__ == "__main__":
    if sys.argv[1:2] == [WORKER]:
        exit_together(worker(*map(Path, sys.argv[2:])))
    run_command(strategies)
