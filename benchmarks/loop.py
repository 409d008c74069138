"""What the loop costs: train.py's Trainer against a bare PyTorch loop that does the same work.

    python benchmarks/loop.py [rounds=20] [steps=50] [large_steps=10] [threads=null] [key=value ...]

Both train copies of one model on the same batches in one process and take turns, so that what the machine
does to one it does to the other; every loss of one must equal the other's. Prints Markdown tables. Other
key=value words are train.py's.
"""

import importlib.util
import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from copy import deepcopy
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Protocol
from unittest import mock

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parents[1]))

from train import train
from triad.config.command_line import run_command
from triad.config.compose import compose
from triad.data.batches import TrainBatches
from triad.hardware.device import compute_dtype, describe
from triad.launch.rank import quieten
from triad.layers.cross_entropy import cross_entropy_sum
from triad.optim.roles import decay_groups
from triad.runs.start import prepare_run

NEVER = 10**9
COMMON = (
    "data=text",
    "tokenizer=byte",
    "precision=fp32",  # and this kernel: nothing to measure, nothing that differs between machines
    "hardware.attention=flash",
    "trainer.accelerator=cpu",
    f"trainer.val_check_interval={NEVER}",
    "trainer.limit_val_batches=0",
    "logger.wandb.mode=offline",
)
TINY = ("context=16", "batch.size=4", "model.width=32", "model.depth=1", "model.attention.heads=2")
LARGE = ("context=128", "batch.size=4", "model.width=192", "model.depth=3", "model.attention.heads=3")


class Contestant(Protocol):
    """Goes on training for some steps and says how many seconds they took; keeps the loss of every step."""

    losses: list[Tensor]

    def __call__(self, steps: int) -> float: ...


class Variant(NamedTuple):
    """What is taken of train.py's configuration, and what is changed in it."""

    callbacks: tuple[str, ...] = ()
    loggers: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    terminal: bool = False


SHOWN = ("metrics", "resources", "progress")
DEFAULT = (*SHOWN, "terminate_on_nan", "energy", "sample", "checkpoint", "summary")
AS_IT_IS = "train.py: all its callbacks, CSV"
MINIMAL = "Trainer alone"
VARIANTS = {
    MINIMAL: Variant(),
    "+ metrics every 10 steps": Variant(("metrics",)),
    "+ metrics every 10 steps, CSV": Variant(("metrics",), ("csv",)),
    "+ metrics every 10 steps, CSV, W&B offline": Variant(("metrics",), ("csv", "wandb")),
    "+ metrics every step, CSV": Variant(("metrics",), ("csv",), ("trainer.log_every_n_steps=1",)),
    "+ metrics and resources every 10 steps": Variant(("metrics", "resources")),
    "+ metrics, resources, progress in a file": Variant(SHOWN),
    "+ metrics, resources, progress on a terminal": Variant(SHOWN, terminal=True),
    "+ checkpoint": Variant(("checkpoint",)),
    AS_IT_IS: Variant(DEFAULT, ("csv",)),
    "Trainer alone + Lightning's progress bar": Variant(
        words=("trainer.enable_progress_bar=true",), terminal=True
    ),
    "Trainer alone + Lightning's model summary": Variant(words=("trainer.enable_model_summary=true",)),
    "Trainer alone + Lightning's ModelCheckpoint": Variant(words=("trainer.enable_checkpointing=true",)),
}


class Rounds(Callback):
    """Let others take turns with a running Trainer: some steps of its own, then as many of each of theirs.

    A turn is timed from the start of its first step to the start of the step after its last, so it holds as
    many fetches of a batch as steps. The first round warms up and does not count. What a turn leaves running
    in threads of its own (a bar, W&B) falls on the next one.
    """

    def __init__(self, others: Callable[..., dict[str, Contestant]], steps: int, rounds: int) -> None:
        self.make_others, self.steps, self.last_step = others, steps, steps * (rounds + 1)
        self.others: dict[str, Contestant] = {}
        self.turns_s: dict[str, list[float]] = {"": []}  # "" is the Trainer
        self.losses: list[Tensor] = []

    def on_train_start(self, trainer: Trainer, task: Any) -> None:
        self.others = self.make_others(trainer, task)
        self.turns_s |= {name: [] for name in self.others}

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        now, step = time.perf_counter(), trainer.global_step
        if step % self.steps or step > self.last_step:
            return
        if step:
            self.turns_s[""].append(now - self.since)
            for name, other in self.others.items():
                self.turns_s[name].append(other(self.steps))
        self.since = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, task: Any, outputs: Any, *_: Any) -> None:
        self.losses.append(outputs["shares"]["train/loss"])

    def step_ms(self, name: str = "") -> list[float]:
        """Milliseconds a step of every round but the first."""
        return [turn_s * 1e3 / self.steps for turn_s in self.turns_s[name][1:]]


class Bare:
    """The loop that one writes by hand: the same mathematics as Training.training_step and nothing else.

    The loss is never fetched: nothing waits for it.
    """

    def __init__(self, trainer: Trainer, task: Any) -> None:
        self.model, self.task, self.precision = deepcopy(task.model), task, str(trainer.precision)
        decay = task.make_optimizer.keywords["weight_decay"]
        self.optimizer = task.make_optimizer(decay_groups(self.model, decay))
        self.peak_lr = self.optimizer.param_groups[0]["lr"]
        self.schedule = bare_function(task.schedule)
        self.batches = iter(DataLoader(batches(trainer), batch_size=None))
        self.losses: list[Tensor] = []

    def __call__(self, steps: int) -> float:
        since = time.perf_counter()
        for _ in range(steps):
            self._step(next(self.batches))
        return time.perf_counter() - since

    def _step(self, batch: dict) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.peak_lr * self.schedule(batch["step"])
        rows, total = self.task.hardware.rows(batch["tokens_BT"]), torch.zeros(())
        micro_batches = zip(batch["tokens_BT"].split(rows), batch["targets_BT"].split(rows), strict=True)
        for x_BT, y_BT in micro_batches:
            with torch.autocast("cpu", compute_dtype(self.precision), enabled=self.precision != "32-true"):
                nll, _ = self.model(x_BT, loss=partial(cross_entropy_sum, targets_BT=y_BT))
            loss = nll / batch["count"]
            loss.backward()
            total += loss.detach()
        if (largest := self.task.update.clip.largest) is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), largest)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses.append(total)


class Terminal(io.StringIO):
    """A screen that nobody looks at."""

    def isatty(self) -> bool:
        return True


def batches(trainer: Trainer) -> TrainBatches:
    """The batches that a Trainer gets, from the first."""
    data: Any = trainer.datamodule
    first_row = bare_function(data.first_row)

    def batch_rows(step: int) -> int:
        return first_row(step + 1) - first_row(step)

    return TrainBatches(data.train, batch_rows, first_row, data.seed, start=0, rank=0, ranks=1)


def bare_function(function: Callable) -> Callable:
    """A function as one would call it oneself: Hydra 1.3.8 checks its own partials anew at every call."""
    return (
        partial(function.func, *function.args, **function.keywords)
        if isinstance(function, partial)
        else function
    )


def fit(config: dict, run: Path, callbacks: Iterable[Callback], terminal: bool = False) -> None:
    """train.py's own `train` on a composed configuration, with more callbacks and nothing on the screen."""
    directory = prepare_run(config | {"run_id": run.name, "output_dir": str(run.parent)}, [])
    own_fit = Trainer.fit

    def fit_with_callbacks(trainer: Trainer, *arguments: Any) -> None:
        trainer.callbacks.extend(callbacks)
        own_fit(trainer, *arguments)

    screen = Terminal() if terminal else io.StringIO()
    with (
        mock.patch.object(Trainer, "fit", fit_with_callbacks),
        redirect_stdout(screen),
        redirect_stderr(screen),
    ):
        train(directory, **directory.arguments())


def settle_threads(threads: int | None) -> None:
    """As many threads as train.py would give a process."""
    torch.set_num_threads(threads or int(os.environ.get("OMP_NUM_THREADS", 0)) or os.cpu_count() or 1)


def spread(values: Sequence[float], digits: int) -> str:
    """Median and extremes."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})"


def assert_same_work(ours: list[Tensor], theirs: list[Tensor]) -> None:
    """Equal losses at every step: then model, data, schedule, clipping and optimizer did the same."""
    torch.testing.assert_close(torch.stack(ours[: len(theirs)]), torch.stack(theirs), rtol=1e-5, atol=0)


def turns(variant: Variant, words: Iterable[str], run: Path, steps: int, rounds: int) -> Rounds:
    """One variant against the bare loop."""
    length = f"trainer.max_steps={steps * (rounds + 1) + 1}"
    config = compose([*COMMON, *words, *variant.words, length])
    config["callbacks"] = {name: config["callbacks"][name] for name in variant.callbacks}
    config["logger"] = {name: config["logger"][name] for name in variant.loggers}
    taking_turns = Rounds(lambda *live: {"bare": Bare(*live)}, steps, rounds)
    fit(config, run, [taking_turns], variant.terminal)
    if "wandb" in variant.loggers:
        importlib.import_module("wandb").finish()  # as the end of the process does
    assert_same_work(taking_turns.losses, taking_turns.others["bare"].losses)
    return taking_turns


def table(title: str, measured: dict[str, Rounds]) -> str:
    """A row per variant, each against the bare loop of the same rounds."""
    bare = [ms for each in measured.values() for ms in each.step_ms("bare")]
    lines = [
        f"### {title}\n",
        "| loop | ms a step | more than bare, ms | ratio to bare |",
        "|---|---|---|---|",
        f"| bare PyTorch loop | {spread(bare, 3)} | | 1 |",
    ]
    for name, each in measured.items():
        pairs = [*zip(each.step_ms(), each.step_ms("bare"), strict=True)]
        more, ratio = [a - b for a, b in pairs], [a / b for a, b in pairs]
        lines.append(f"| {name} | {spread(each.step_ms(), 3)} | {spread(more, 3)} | {spread(ratio, 3)} |")
    return "\n".join(lines) + "\n"


def loop(
    overrides: list[str], rounds: int = 20, steps: int = 50, large_steps: int = 10, threads: int | None = None
) -> None:
    """Time train.py's loop against a bare one, at a tiny model and at one of about 50 ms a step.

    `steps` (tiny) or `large_steps` steps are a turn, `rounds` turns of each count; shown are the median and
    the extremes of a turn's mean step. A turn should be a multiple of 10 steps, for the metrics' rhythm.
    """
    quieten()
    settle_threads(threads)
    variants = dict(VARIANTS)
    if importlib.util.find_spec("wandb") is None:
        variants = {name: variant for name, variant in variants.items() if "wandb" not in variant.loggers}
    with TemporaryDirectory() as folder, mock.patch.dict(os.environ, TRIAD_CACHE=f"{folder}/cache"):
        text, runs = Path(folder, "text.txt"), (Path(folder, f"run-{n}") for n in range(1000))
        text.write_text("".join(f"{n} squared is {n * n}; its half is {n // 2}.\n" for n in range(3000)))
        corpus = f"data.path={text}"
        tiny = {
            name: turns(variant, (corpus, *TINY, *overrides), next(runs), steps, rounds)
            for name, variant in variants.items()
        }
        large = {
            name: turns(variants[name], (corpus, *LARGE, *overrides), next(runs), large_steps, rounds)
            for name in (MINIMAL, AS_IT_IS)
        }
    _report(tiny, large, f"{rounds} rounds of {steps} and {large_steps} steps")


def _report(tiny: dict[str, Rounds], large: dict[str, Rounds], what: str) -> None:
    print(f"{describe(torch.device('cpu'))}, torch {torch.__version__}; {what}; median (least..most)\n")
    print(table("A tiny model: what each part costs", tiny))
    print(table("A larger model", large))
    same = sum(len(each.losses) - 1 for each in (*tiny.values(), *large.values()))
    print(f"Same work: the losses of all {same} pairs of steps are equal.\n")
    worst, ratio = tiny[AS_IT_IS], large[AS_IT_IS]
    more = median(a - b for a, b in zip(worst.step_ms(), worst.step_ms("bare"), strict=True))
    share = median(a / b - 1 for a, b in zip(ratio.step_ms(), ratio.step_ms("bare"), strict=True))
    print(f"train.py adds {more:.2f} ms a step to a tiny model (aim: at most 1 ms)")
    print(f"and {share:.2%} to steps of {median(ratio.step_ms('bare')):.0f} ms (aim: at most 2 % of 50 ms).")


if __name__ == "__main__":
    run_command(loop)
