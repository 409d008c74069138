"""What it costs to show a run: CPU time of the hooks of a step, of a report, and of drawing on a terminal.

    python benchmarks/progress.py [calls=2000] [step_ms=3.5]

`step_ms` is the step that the sum is held against; 3.5 ms is the bare loop's at the tiny model of
benchmarks/loop.py. CPU time of the process, so that what else the machine does is left out.
"""

import io
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from types import SimpleNamespace
from typing import Any

import torch

from triad.callbacks.progress import Progress
from triad.callbacks.resources import Resources
from triad.config.command_line import run_command
from triad.data.progress import REFRESHES_PER_S

REPORT = {"train/loss": 3.2, "val/loss": 3.3, "train/lr": 6e-4, "perf/tokens_per_s": 12e3, "perf/mfu": 0.4}
EVERY = 10  # steps from one report to the next


class Terminal(io.StringIO):
    """A screen of 80 columns that nobody looks at."""

    def isatty(self) -> bool:
        return True


def measure_us(work: Callable[[], Any], calls: int) -> float:
    """Microseconds of CPU time a call."""
    work()
    since = time.process_time()
    for _ in range(calls):
        work()
    return (time.process_time() - since) / calls * 1e6


def progress(calls: int = 2000, step_ms: float = 3.5) -> None:
    """Print the cost of each part, and of all of them in a step."""
    run: Any = SimpleNamespace(monitored=lambda: ("val/loss", "lower"))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trainer: Any = SimpleNamespace(global_step=1, max_steps=10**6, is_global_zero=True, callbacks=[])
    trainer.val_check_batch, trainer.num_val_batches = 250, [10]
    trainer.strategy = SimpleNamespace(root_device=device)
    resources, shown, in_file = Resources(), Progress(run), Progress(run)
    resources.on_fit_start(trainer, None)
    with redirect_stdout(Terminal()):
        shown.on_train_start(trainer, None)
        assert shown.live
        shown.show(trainer, REPORT | resources.figures(trainer))
        draw_us = measure_us(shown.live.refresh, calls // 10)
        step_us = measure_us(lambda: shown.on_train_batch_end(trainer), calls)
        shown.on_train_end(trainer, None)
    in_file.on_train_start(trainer, None)
    in_file.lines.mark()
    file_us = measure_us(lambda: in_file.on_train_batch_end(trainer), calls)
    report_us = measure_us(lambda: resources.figures(trainer), calls)
    drawn = draw_us * REFRESHES_PER_S * step_ms / 1e3
    parts = {"a step, on a terminal": step_us, "a step, in a file": file_us}
    parts |= {f"resources, each {EVERY}th step": report_us, "drawing, twice a second": draw_us}
    print("| part | microseconds |\n|---|---|")
    print("\n".join(f"| {name} | {cost:.1f} |" for name, cost in parts.items()))
    sums = {"on a terminal": step_us + report_us / EVERY + drawn, "in a file": file_us + report_us / EVERY}
    for name, cost in sums.items():
        print(
            f"\n{name}: {cost:.1f} us a step, {cost / step_ms / 1e3:.2%} of {step_ms:g} ms (aim: below 1 %)"
        )


if __name__ == "__main__":
    run_command(progress)
