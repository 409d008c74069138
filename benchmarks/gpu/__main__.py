"""What only a GPU decides, in eight minutes: `make gpu`.

    python -m benchmarks.gpu [device=auto|cpu|gpu] [checks=NAME,...]

Makes no environment and installs nothing: it says which packages are missing. Checks run in a process of
their own (benchmarks/gpu/worker.py), the most doubtful first; when it hangs or dies, the item at fault fails
and another process goes on with the rest. `device=cpu` goes through all of them with small sizes and gloo,
to try out this program: what only a GPU decides is then called PATH, not PASS. `checks=` picks some of
the names in CHECKS, with commas between. The exit code is 0 if nothing failed and everything was reached.
"""

import json
import os
import re
import subprocess
import sys
import time
import tomllib
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[2]
CHECKS = (
    *("synchronisations", "snapshot", "repeat", "resume", "families", "grouped", "precisions"),
    *("strategies", "optimizers", "kernels", "speed", "chunks", "recompilations", "meters"),
)
WORKER = ["-m", "benchmarks.gpu.worker"]
AGAIN = 3  # the code of a worker that needs a new process for the rest
TOTAL_S = 8 * 60.0
ITEM_S = 120.0  # for the longest item, such as compiling and timing one contestant
OPTIONAL = {"wandb", "optuna", "jinja2", "matplotlib"}  # of the project's dependencies: no check needs them
NEEDS = {  # what a package that is not installed cannot say itself
    "hydra-core": ("omegaconf", "antlr4-python3-runtime", "packaging"),
    "omegaconf": ("antlr4-python3-runtime", "pyyaml"),
    "pydantic": ("pydantic_core", "annotated-types", "typing-inspection", "typing_extensions"),
    "lightning": ("pytorch-lightning", "lightning-utilities", "torchmetrics", "fsspec", "tqdm"),
}
LINE = "{check:<18}{item:<34}{verdict:<9}{seconds:>6.1f}  {figures}"
Report = dict[str, Any]


def main(words: list[str]) -> int:
    """Run the checks and print a table; return the exit code."""
    asked = dict(word.split("=", 1) for word in words)
    device, names = asked.pop("device", "auto"), asked.pop("checks", "").split(",")
    chosen = [name for name in CHECKS if names == [""] or name in names]
    if asked or device not in ("auto", "cpu", "gpu") or {*names} - {*CHECKS, ""}:
        print(f"usage: python -m benchmarks.gpu [device=auto|cpu|gpu] [checks={','.join(CHECKS)}]")
        return 2
    if missing := find_missing():
        print(explain_missing(missing))
        return 2
    with TemporaryDirectory() as folder:
        return run(chosen, device, Path(folder), time.time() + TOTAL_S)


def find_missing() -> list[str]:
    """The packages that the checks need and that are not here, in the versions that the tests passed with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.split(r"[^\w.-]", line)[0].lower() for line in project["dependencies"]]
    left, missing = [name for name in names if name not in OPTIONAL], []
    while left:
        name = left.pop()
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
            left += [needed for needed in NEEDS.get(name, ()) if needed not in missing]
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    versions = {line.partition("==")[0].lower().replace("_", "-"): line for line in pinned}
    return sorted({versions.get(name.replace("_", "-"), name) for name in missing})


def explain_missing(missing: list[str]) -> str:
    """How a machine without a network gets them."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        f"Not installed for {sys.executable}: {' '.join(missing)}\n"
        f"Where there is a network, with Python {version}:\n"
        f"    pip wheel --no-deps -w wheels {' '.join(missing)}\n"
        "Here:\n    python -m pip install --no-index --no-deps --target SITE wheels/*.whl\n"
        "    PYTHONPATH=SITE make gpu"
    )


class Table:
    """The journal of the checks, printed line by line as it grows."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.reports: list[Report] = []
        journal.touch()
        print(f"{'check':<18}{'item':<34}{'verdict':<9}{'s':>6}  figures", flush=True)

    def add(self, check: str, item: str, verdict: str, figures: str) -> None:
        """Add a line that no worker wrote."""
        report = {"check": check, "item": item, "verdict": verdict, "figures": figures, "seconds": 0.0}
        with self.journal.open("a") as file:
            file.write(json.dumps(report) + "\n")
        self.update()

    def update(self) -> bool:
        """Print what is new; return whether anything is."""
        text = self.journal.read_text(encoding="utf-8")
        lines = text[: text.rfind("\n") + 1].splitlines()[len(self.reports) :]
        for report in map(json.loads, lines):
            self.reports.append(report)
            if report["verdict"] == "device":
                print(report["figures"], flush=True)
            elif report["verdict"] not in ("begun", "end"):
                print(LINE.format(**report), flush=True)
        return bool(lines)

    def count(self, verdict: str) -> int:
        return sum(report["verdict"] == verdict for report in self.reports)


def run(chosen: list[str], device: str, folder: Path, deadline: float) -> int:
    """Run some checks, each item once, and print what each comes to as it comes."""
    table, log = Table(folder / "journal.jsonl"), folder / "log.txt"
    command = [sys.executable, *WORKER, str(folder), device, str(deadline), *chosen]
    paths = [str(ROOT), str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "TRIAD_CACHE": str(folder / "cache")}
    if device == "cpu":
        environment |= {"OMP_NUM_THREADS": "1"}  # what is small is not faster with more
    while not table.count("end") and time.time() < deadline:
        with log.open("a") as file:
            worker = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=file)
        code = watch(worker, table, deadline)
        if table.reports and table.reports[-1]["verdict"] == "begun":
            check, item = table.reports[-1]["check"], table.reports[-1]["item"]
            if time.time() > deadline:
                table.add(check, item, "NOT RUN", "out of time")
            else:
                why = f"gave no answer in {ITEM_S:.0f} s" if code == -9 else f"ended with code {code}"
                table.add(check, item, "FAIL", f"the process {why}: {last_line(log)}")
        elif code not in (0, AGAIN):
            print(f"The checks cannot be run: {last_line(log)}")
            return 1
    for name in chosen:
        if not any(report["check"] == name for report in table.reports):
            table.add(name, "", "NOT RUN", "out of time")
    counts = {word: table.count(word) for word in ("PASS", "PATH", "SKIP", "NOT RUN", "FAIL")}
    print("", ", ".join(f"{count} {word}" for word, count in counts.items()), sep="\n")
    return 1 if table.count("FAIL") or table.count("NOT RUN") else 0


def watch(worker: subprocess.Popen, table: Table, deadline: float) -> int:
    """Print what a worker reports until it has ended, by itself or because it took too long; its code."""
    heard = time.time()
    while True:
        ended = worker.poll() is not None
        if table.update():
            heard = time.time()
        if ended:
            return worker.returncode
        if time.time() > min(deadline + 5, heard + ITEM_S):
            worker.kill()
        time.sleep(0.1)


def last_line(log: Path) -> str:
    """The last line that was printed."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "it printed nothing"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
