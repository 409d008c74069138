"""What a start costs until its first step is done: CPU seconds of all its processes, and what they imported.

    python benchmarks/start.py [rounds=5] [key=value ...]

Starts train.py as a user does, with a fresh interpreter and everything cached, once for each row and in
turns. The clock is the CPU time of the parent, the rank and what these started, read when the first step
ends. Prints a Markdown table. Other key=value words are train.py's.
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

ROWS = {
    "as it comes": (),
    "without W&B": ("logger=csv",),
    "without W&B, data read for the first time": ("logger=csv",),
}
HEAVY = {  # a module of each, that nothing else imports
    "torch._dynamo": "torch._dynamo.convert_frame",
    "torchmetrics": "torchmetrics.functional",
    **{name: name for name in ("transformers", "matplotlib", "sympy", "scipy", "pandas", "wandb", "optuna")},
}
REPORT = "TRIAD_START_REPORT"  # the file that the rank writes
AIM_S = 10.0


def measure(rounds: int = 5, rows: int = 3, overrides: tuple[str, ...] = ()) -> None:
    """Start each row `rounds` times and print the medians."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in ROWS}
        _start(place, place / "cache", (*ROWS["as it comes"], *overrides))
        for number in range(rounds):
            for name, words in [*ROWS.items()][:rows]:
                cache = place / (f"cache-{number}" if "first time" in name else "cache")
                found[name].append(_start(place, cache, (*words, *overrides)))
    print(f"{read_processor()}, {rounds} starts each, median (least..most); aim: {AIM_S:g} s of CPU time\n")
    columns = ("start", "CPU, s", "wall, s", "first word after, s", "imported by the first step")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name, starts in [*found.items()][:rows]:
        cells = [_show([one[key] for one in starts]) for key in ("cpu_s", "wall_s", "word_s")]
        print(f"| {name} | {' | '.join(cells)} | {', '.join(starts[0]['imported'])} |")


def _show(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f}..{max(values):.2f})"


def _start(place: Path, cache: Path, words: tuple[str, ...]) -> dict[str, Any]:
    """One start of this very file in the place of train.py, until the end of its run of one step."""
    report = place / "report.json"
    report.unlink(missing_ok=True)
    changed = {"TRIAD_CACHE": str(cache), REPORT: str(report), "PYTHONUNBUFFERED": "1"}
    since = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, __file__, "trainer.max_steps=1", "trainer.limit_val_batches=0", *words],
        cwd=place,
        env=os.environ | changed,
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
    return json.loads(report.read_text()) | {
        "word_s": word_s,
        "wall_s": json.loads(report.read_text())["at"] - since,
    }


def train_and_report(run: Run, **nodes: Any) -> None:
    """`train`, that writes what it took when its first step is done."""
    from triad.tasks.module import Training

    step = Training.training_step

    def step_and_report(self: Any, *arguments: Any, **named: Any) -> Any:
        done = step(self, *arguments, **named)
        imported = [name for name, module in HEAVY.items() if module in sys.modules]
        facts = {"cpu_s": _cpu_s(os.getppid()), "at": time.monotonic(), "imported": imported}
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
