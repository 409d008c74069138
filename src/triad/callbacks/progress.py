"""How far a run has come: three lines that stay below all others on a terminal, plain lines in a file."""

import math
import signal
import sys
import time
from collections import deque
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from triad.config.tables import fold_line
from triad.data.progress import REFRESHES_PER_S, Lines, cut_line, draw_bar, format_time
from triad.runs.directory import Run
from triad.runs.signals import signals

SHOWN = ("train/lr", "perf/tokens_per_s", "perf/mfu", "train/gradient_norm")  # behind the losses
WINDOW_S = 60  # of training, from which the time left is told


class Progress(Callback):
    """Show step of steps, time left and elapsed, what is being done, metrics, memory and utilisation.

    The lines on a terminal change twice a second; a file gets one every ten seconds, in long runs every
    minute. Each validation has a line of its own. A run that ends early says why: of a callback that sets
    `trainer.should_stop`, that is its attribute `stop_reason`.

        time left = steps left * seconds of one step (mean over the last 60 s of training)
                    + validations left * seconds of the last validation

    `perf/elapsed_s` is the time since the parts of the run were built, with that of earlier starts up to the
    checkpoint that was resumed.
    """

    observer = True  # changes no metric of the run: triad.config.identity

    def __init__(self, run: Run) -> None:
        self.monitored, _ = run.monitored()
        self.earlier_s = 0.0  # of the starts before this one
        self.since = time.monotonic()
        self.step = self.steps = 0
        self.doing = "starting"
        self.metrics: dict[str, float] = {}
        self.pace = StepPace()
        self.lines = Lines()
        self.console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
        self.live: Live | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"elapsed_s": self._count_elapsed()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.earlier_s = state_dict["elapsed_s"]

    def figures(self, trainer: Trainer) -> dict[str, float]:
        """For the metrics callback, at each of its reports."""
        return {"perf/elapsed_s": self._count_elapsed()}

    def on_train_start(self, trainer: Trainer, training: Any) -> None:
        self.step, self.steps = trainer.global_step, trainer.max_steps
        interval = trainer.val_check_batch if sum(trainer.num_val_batches) else math.inf
        self.pace.interval = interval or math.inf
        if trainer.is_global_zero and sys.stdout.isatty() and not self.console.is_dumb_terminal:
            options: Any = {"refresh_per_second": REFRESHES_PER_S, "transient": True}
            self.live = Live(get_renderable=self._render, console=self.console, **options)
            self.live.start()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.step, self.doing = trainer.global_step, "training"
        self.pace.mark(self.step)
        if trainer.is_global_zero and not self.live and self.lines.due(patience=1.0):  # reports are rare
            self._print_line("training")

    def on_validation_start(self, trainer: Trainer, training: Any) -> None:
        self.step, self.steps = trainer.global_step, trainer.max_steps  # a resumed run may begin with this
        self._do("validating")
        self.pace.pause()

    def on_validation_batch_end(self, trainer: Trainer, training: Any, outputs: Any, *batch: Any) -> None:
        _, number, *_ = batch
        batches, self.doing = _count_batches(trainer), f"validating, batch {number + 1:,}"
        if batches < math.inf:
            self.pace.validated = (number + 1) / batches
            self.doing += f" of {batches:,}"
        if trainer.is_global_zero and not self.live and self.lines.due():
            self._print_line(self.doing)

    def on_validation_end(self, trainer: Trainer, training: Any) -> None:
        self.pace.resume()
        self._do("training")

    def before_save(self, trainer: Trainer) -> None:
        """Called by the checkpoint callback."""
        self._do("saving")

    def show(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        """Called by the metrics callback in the first process, at each of its reports."""
        self.metrics = self.metrics | metrics
        self.step, self.steps = trainer.global_step, trainer.max_steps
        if validated := {key: value for key, value in metrics.items() if key.startswith("val/")}:
            self._print(_format(validated))
        elif not self.live and self.lines.due():
            self._print_line(self._describe_metrics(), self._describe_resources())

    def on_train_end(self, trainer: Trainer, training: Any) -> None:
        self._close(trainer, _find_reason(trainer) if trainer.global_step < trainer.max_steps else "")

    def on_exception(self, trainer: Trainer, training: Any, exception: BaseException) -> None:
        stopped = isinstance(exception, SIGTERMException) and signals.agreed
        why = f"signal {signal.Signals(signals.agreed).name}" if stopped else type(exception).__name__
        self._close(trainer, why)

    def _do(self, what: str) -> None:
        self.doing = what
        if self.live:
            self.live.refresh()

    def _close(self, trainer: Trainer, reason: str) -> None:
        """Leave the last figures on the screen, and why there are no more."""
        if self.live:
            self.live.stop()
            self.live = None
        if not trainer.is_global_zero or not self.steps:
            return
        if self.metrics:
            self._print_line(self._describe_metrics(), self._describe_resources(), left=False)
        if reason:
            line = f"ended at step {self.step:,} of {self.steps:,}: {reason}"
            self.console.print(line, soft_wrap=not self.console.is_terminal)

    def _print_line(self, *facts: str, left: bool = True) -> None:
        self.lines.mark()
        remaining = self._describe_left() if left else ""
        self._print(remaining, f"{format_time(self._count_elapsed())} elapsed", *facts)

    def _print(self, *facts: str) -> None:
        line = "  ".join([f"step {self.step}/{self.steps}", *filter(None, facts)])
        folded = self.console.is_terminal
        lines = fold_line(line, self.console.width, indent="  ") if folded else [line]
        self.console.print("\n".join(lines))

    def _render(self) -> Group:
        """What is on the terminal: the run, what is being done and the metrics, the machine."""
        before = f"step {self.step}/{self.steps} {self._describe_left() or '-:-- left'}"
        elapsed = f"{format_time(self._count_elapsed())} elapsed"
        head = draw_bar(self.console, before, self.step / self.steps, elapsed)
        doing = "  ".join(filter(None, (self.doing, self._describe_resources())))
        below = (self._describe_metrics(self.console.width), doing)
        return Group(head, *(cut_line(Text(line)) for line in below))

    def _count_elapsed(self) -> float:
        return self.earlier_s + time.monotonic() - self.since

    def _describe_left(self) -> str:
        left_s = self.pace.predict(self.step, self.steps)
        return "" if left_s is None else f"{format_time(left_s)} left"

    def _describe_metrics(self, width: float = math.inf) -> str:
        """Those that are most asked for, as many as fit."""
        shown = dict.fromkeys(("train/loss", self.monitored, *SHOWN))
        words = _format({key: self.metrics[key] for key in shown if key in self.metrics})
        while len(words) > width:
            words = words[: words.rindex("  ")] if "  " in words else words[: int(width)]
        return words

    def _describe_resources(self) -> str:
        found = self.metrics
        words = []
        for name, device in (("", ""), ("device ", "device_")):
            if memory := found.get(f"perf/{device}memory_bytes"):
                words.append(f"{name}memory {memory / 1e9:.2f} GB")
            if (used := found.get(f"perf/{device or 'cpu_'}utilisation")) is not None:
                words.append(f"{name or 'cpu '}{used:.0%}")
        return "  ".join(words)


class StepPace:
    """Seconds of a step and of a validation, and what is left of a run by them."""

    def __init__(self) -> None:
        self.marks: deque[tuple[float, int]] = deque()  # seconds of training, and the step at their end
        self.interval = math.inf  # steps from one validation to the next
        self.idle_s = self.validation_s = 0.0  # in all validations of this start, in the last one
        self.paused: float | None = None  # when the validation under way began
        self.validated = 0.0  # the part of it that is done

    def mark(self, step: int) -> None:
        """A step has ended; one in a second is noted. The first, which compiles, begins what is measured."""
        now = time.monotonic() - self.idle_s
        if not self.marks or now - self.marks[-1][0] >= 1:
            self.marks.append((now, step))
            while now - self.marks[0][0] > WINDOW_S and len(self.marks) > 2:
                self.marks.popleft()

    def pause(self) -> None:
        """A validation begins."""
        self.paused, self.validated = time.monotonic(), 0.0

    def resume(self) -> None:
        """A validation has ended."""
        if self.paused is not None:
            self.validation_s = time.monotonic() - self.paused
            self.idle_s += self.validation_s
            self.paused = None

    def predict(self, step: int, steps: int) -> float | None:
        """Seconds left, None before there are two steps a second apart."""
        left_s = 0.0
        if step < steps:
            if len(marks := [*self.marks]) < 2:
                return None
            (since, first), (until, last) = marks[0], marks[-1]
            left_s = (until - since) / (last - first) * (steps - step)
        validation_s = self.validation_s
        if (paused := self.paused) is not None:
            spent_s = time.monotonic() - paused
            validation_s = spent_s / self.validated if self.validated else max(validation_s, spent_s)
            left_s += validation_s - spent_s
        if step < steps and self.interval < math.inf:
            left_s += (-(-steps // self.interval) - step // self.interval) * validation_s
        return left_s


def _format(metrics: dict[str, float]) -> str:
    """Losses and what validations measure by their whole names, others by the last part."""

    def name(key: str) -> str:
        return key if key.startswith("val/") or key == "train/loss" else key.partition("/")[2]

    return "  ".join(f"{name(key)} {value:.4g}" for key, value in metrics.items())


def _find_reason(trainer: Trainer) -> str:
    """Why a run has ended that had steps left, by the callback that ended it."""
    reasons = (getattr(callback, "stop_reason", None) for callback in trainer.callbacks)
    return next(filter(None, reasons), "a callback has set trainer.should_stop")


def _count_batches(trainer: Trainer) -> float:
    """Batches of a validation; infinity where its data cannot tell."""
    dataset = getattr(trainer.val_dataloaders, "dataset", None)
    count = getattr(dataset, "count_batches", lambda: math.inf)
    return min(count(), trainer.num_val_batches[0])
