"""What logging costs: the time that training waits for each logger, of a dense model and one with experts.

    python benchmarks/loggers.py [reports=100] [every=10] [key=value ...]

Runs train.py's own loop on tiny models, reports every `every` steps as usual, and times each call that a
report makes. Prints a Markdown table. Other key=value words are train.py's.
"""

import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import wandb

from benchmarks.loop import COMMON, TINY, fit, settle_threads
from triad.callbacks.energy import Energy
from triad.callbacks.metrics import Metrics
from triad.config.command_line import run_command
from triad.config.compose import compose
from triad.hardware.device import describe
from triad.launch.rank import quieten
from triad.loggers.csv import CSV
from triad.loggers.tensorboard import TensorBoard
from triad.loggers.wandb import WandB

AIM_MS = 0.2  # a step
EXPERTS = ("model=moe", "model.feedforward.experts=32", "model.depth=4")
MODELS = {"dense": (), "4 layers of 32 experts": EXPERTS}
PARTS = {
    "the figures themselves": (Metrics, "_report"),  # less what is below
    "energy and cost": (Energy, "figures"),
    "metrics.csv": (CSV, "log_metrics"),
    "W&B, offline": (WandB, "log_metrics"),
    "TensorBoard": (TensorBoard, "log_metrics"),
}


def timed(function: Callable, spent_ms: list[float]) -> Callable:
    """The function, whose calls are timed."""

    def call(*arguments: Any, **named: Any) -> Any:
        since = time.perf_counter()
        found = function(*arguments, **named)
        spent_ms.append((time.perf_counter() - since) * 1e3)
        return found

    return call


def measure(words: tuple[str, ...], run: Path) -> dict[str, list[float]]:
    """Milliseconds of each report's calls in one run."""
    spent_ms: dict[str, list[float]] = {name: [] for name in PARTS}
    with ExitStack() as stack:
        for name, (kind, method) in PARTS.items():
            call = timed(getattr(kind, method), spent_ms[name])
            stack.enter_context(mock.patch.object(kind, method, call))
        fit(compose([*words]), run, [])
    parts = [spent_ms[name] for name in list(PARTS)[1:] if spent_ms[name]]
    whole = spent_ms["the figures themselves"]
    spent_ms["the figures themselves"] = [ms - sum(calls) for ms, *calls in zip(whole, *parts, strict=True)]
    return spent_ms


def loggers(overrides: list[str], reports: int = 100, every: int = 10, threads: int | None = None) -> None:
    """Time what each report costs, and print a step's share of it."""
    quieten()
    settle_threads(threads)
    chosen = "logger=many" if find_spec("tensorboard") else "logger=wandb"
    length = (f"trainer.max_steps={reports * every}", f"trainer.log_every_n_steps={every}")
    print(f"{describe(torch.device('cpu'))}, torch {torch.__version__}, wandb {wandb.__version__}\n")
    with TemporaryDirectory() as folder, mock.patch.dict(os.environ, TRIAD_CACHE=f"{folder}/cache"):
        text = Path(folder, "text.txt")
        text.write_text("".join(f"{n} squared is {n * n}; its half is {n // 2}.\n" for n in range(3000)))
        for name, model in MODELS.items():
            words = (*COMMON, f"data.path={text}", *model[:1], *TINY, *model[1:], chosen, *length, *overrides)
            spent_ms = measure(words, Path(folder, name))
            before = _children_s()
            wandb.teardown()
            service_ms = (_children_s() - before) * 1e3 / reports
            print(_table(name, {key: ms for key, ms in spent_ms.items() if ms}, every, service_ms))


def _table(name: str, spent_ms: dict[str, list[float]], every: int, service_ms: float) -> str:
    lines = [
        f"### {name}, {len(spent_ms['metrics.csv'])} reports\n",
        f"| part | a report, ms: median | mean | a step of {every}, ms: median | mean |",
        "|---|---|---|---|---|",
    ]
    whole = [sum(parts) for parts in zip(*spent_ms.values(), strict=True)]
    for part, ms in (spent_ms | {f"all (aim: below {AIM_MS} ms a step)": whole}).items():
        share = f"{median(ms) / every:.4f} | {mean(ms) / every:.4f}"
        lines.append(f"| {part} | {median(ms):.3f} | {mean(ms):.3f} | {share} |")
    lines += ["", f"W&B's own process: {service_ms:.2f} ms of CPU a report, beside training."]
    return "\n".join(lines) + "\n"


def _children_s() -> float:
    """CPU time of processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    run_command(loggers)
