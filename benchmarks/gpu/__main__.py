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
TOTAL_S = 8 * 60.0
ITEM_S = 120.0  # for the longest item, such as compiling and timing one contestant
OPTIONAL = {"wandb", "optuna", "jinja2", "matplotlib"}  # of the project's dependencies: no check needs them
NEEDS = {  # what a package that is not installed cannot say itself
    "hydra-core": ("omegaconf", "antlr4-python3-runtime", "packaging"),
    "omegaconf": ("antlr4-python3-runtime", "pyyaml"),
    "pydantic": ("pydantic_core", "annotated-types", "typing-inspection", "typing_extensions"),
    "lightning": ("pytorch-lightning", "lightning-utilities", "torchmetrics", "fsspec", "tqdm"),
}
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


def run(chosen: list[str], device: str, folder: Path, deadline: float) -> int:
    """Run some checks, each item once, and print what each comes to as it comes."""
    journal, log = folder / "journal.jsonl", folder / "log.txt"
    journal.touch()
    shown, failed, partial = 0, 0, False
    command = [sys.executable, *WORKER, str(folder), device, str(deadline), *chosen]
    paths = [str(ROOT), str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "TRIAD_CACHE": str(folder / "cache")}
    print(f"{'check':<18}{'item':<34}{'verdict':<9}{'s':>6}  figures", flush=True)
    finished = False
    while not finished and time.time() < deadline:
        with log.open("a") as file:
            worker = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=file)
        heard = time.time()
        while True:
            ended = worker.poll() is not None
            reports = read_journal(journal)
            for report in reports[shown:]:
                heard = time.time()
                if report["verdict"] != "begun":
                    failed += show(report)
                    partial |= report["verdict"] == "NOT RUN"
            shown = len(reports)
            finished = any(report["verdict"] == "end" for report in reports)
            if ended or finished:
                break
            if time.time() > deadline + 5 or time.time() > heard + ITEM_S:
                worker.kill()
            time.sleep(0.1)
        worker.wait()
        if not finished:
            if (fault := blame(reports, worker.returncode, log)) is None:
                print(f"The checks cannot start: {last_line(log)}")
                return 1
            with journal.open("a") as file:
                file.write(json.dumps(fault) + "\n")
    reports = read_journal(journal)
    for report in reports[shown:]:
        failed += report["verdict"] != "begun" and show(report)
    unreached = [name for name in chosen if not any(report["check"] == name for report in reports)]
    for name in unreached:
        show({"check": name, "item": "", "verdict": "NOT RUN", "figures": "out of time", "seconds": 0.0})
    counts = {word: sum(report["verdict"] == word for report in reports) for word in ("PASS", "PATH", "SKIP")}
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    print(f"\n{said}, {failed} FAIL" + ("; not everything was reached" if partial or unreached else ""))
    return 1 if failed or partial or unreached else 0


def read_journal(journal: Path) -> list[Report]:
    """What the worker has written so far, a line for each event."""
    lines = journal.read_text(encoding="utf-8")
    return [json.loads(line) for line in lines[: lines.rfind("\n") + 1].splitlines()]


def show(report: Report) -> bool:
    """Print a line of the table; return whether it is a failure."""
    if report["verdict"] != "end":
        head = f"{report['check']:<18}{report['item']:<34}{report['verdict']:<9}{report['seconds']:>6.1f}"
        print(f"{head}  {report['figures']}", flush=True)
    return report["verdict"] == "FAIL"


def blame(reports: list[Report], code: int, log: Path) -> Report | None:
    """The item that was under way when the worker ended, as a failure; None if there was none."""
    if not reports or reports[-1]["verdict"] != "begun":
        return None if not reports else {**reports[-1], "item": "(between items)", "verdict": "FAIL"}
    why = f"no answer in {ITEM_S:.0f} s or until the time was up" if code == -9 else f"ended with code {code}"
    return {**reports[-1], "verdict": "FAIL", "figures": f"the process {why}: {last_line(log)}"}


def last_line(log: Path) -> str:
    """The last line that was printed."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "it printed nothing"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
