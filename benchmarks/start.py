"""What a start costs until its first step is done: CPU seconds of all its processes, and what they imported.

    python benchmarks/start.py [rounds=5] [key=value ...]

Starts train.py as a user does, with fresh interpreters, with W&B and without, in turns, after one start that
fills the cache. The clock is the CPU time of the parent, the rank and what these started, read when the first
step ends. Prints a Markdown table. Other key=value words are train.py's.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from train import train
from triad.config.command_line import run_command
from triad.config.processes import read_processor
from triad.launch.command import compose_and_launch
from triad.runs.directory import Run

ROWS = {"as it comes": "logger=wandb", "without W&B": "logger=csv"}
COLUMNS = {"CPU, s": "cpu_s", "wall, s": "wall_s", "first word after, s": "word_s"}
WATCHED = {  # a module of each, that nothing else imports
    "torch._dynamo": "torch._dynamo.convert_frame",
    "torchmetrics": "torchmetrics.functional",
    **{name: name for name in ("transformers", "matplotlib", "sympy", "scipy", "pandas", "wandb")},
}
REPORT = "TRIAD_START_REPORT"  # the file that the rank writes
AIM_S = 10.0


def measure(rounds: int = 5, overrides: tuple[str, ...] = ()) -> None:
    """Start each row `rounds` times and print the medians."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ROWS}
    with TemporaryDirectory() as folder:
        _start(Path(folder), overrides)
        for _ in range(rounds):
            for name, word in ROWS.items():
                found[name].append(_start(Path(folder), (*overrides, word)))
    print(f"{read_processor()}, {rounds} starts each, median (least..most); aim: {AIM_S:g} s of CPU time\n")
    print(f"| start | {' | '.join(COLUMNS)} | imported by the first step |")
    print("|---" * (len(COLUMNS) + 2) + "|")
    for name, starts in found.items():
        cells = [_show([one[key] for one in starts]) for key in COLUMNS.values()]
        print(f"| {name} | {' | '.join(cells)} | {', '.join(starts[0]['imported'])} |")


def _show(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f}..{max(values):.2f})"


def _start(place: Path, words: tuple[str, ...]) -> dict[str, Any]:
    """One start, of this very file in the place of train.py, until the end of its run of one step."""
    report = place / "report.json"
    report.unlink(missing_ok=True)
    since = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, __file__, "trainer.max_steps=1", "trainer.limit_val_batches=0", *words],
        cwd=place,
        env=os.environ | {REPORT: str(report), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    word_s = time.monotonic() - since
    rest = process.stdout.read()
    if process.wait() or not report.is_file():
        sys.exit(first + rest)
    facts = json.loads(report.read_text())
    return facts | {"word_s": word_s, "wall_s": facts["at_s"] - since}


def train_and_report(run: Run, **nodes: Any) -> None:
    """`train`, that writes what it took when its first step is done."""
    from triad.tasks.module import Training

    step = Training.training_step

    def step_and_report(self: Any, *arguments: Any, **named: Any) -> Any:
        done = step(self, *arguments, **named)
        imported = [name for name, module in WATCHED.items() if module in sys.modules]
        facts = {"cpu_s": _cpu_s(os.getppid()), "at_s": time.monotonic(), "imported": imported}
        Path(os.environ[REPORT]).write_text(json.dumps(facts))
        Training.training_step = step
        return done

    Training.training_step = step_and_report
    train(run, **nodes)


def _cpu_s(process: int) -> float:
    """CPU seconds of a process and of all that it started, those that have ended among them."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    tasks = Path(f"/proc/{process}/task").iterdir()
    children = {child for task in tasks for child in (task / "children").read_text().split()}
    return own + sum(_cpu_s(int(child)) for child in children)


if __name__ == "__main__":
    if os.environ.get(REPORT):
        compose_and_launch(train_and_report)
    else:
        run_command(measure)
