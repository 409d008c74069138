"""A run that is killed at its k-th file operation and started again, until it is finished.

    python killed_at.py FOLDER WHERE key=value ...

A file operation is whatever the interpreter tells its auditors of a file below FOLDER: opening it to write,
renaming, removing, making a folder. WHERE says which are tried: `1-97` by number, `5:0` so many at random and
a seed, or parts of names, of each the first that has it: `tokenizer.json,samples.txt`. One line of JSON has
the number of operations of the whole run and what was lost, by the operation that was killed: an error of the
next start, what is not bit for bit that of the run that was never killed, or a file that is left over.
Processes are forked from this one, which has imported everything.

The files are those of a user's `train.py run_id=a ...`; the next start is what a user types then: the same
again if run.json is not there yet, else `resume=`.
"""

import json
import os
import random
import re
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import lightning.pytorch  # noqa: F401
import matplotlib.image
import torch

import triad.callbacks.checkpoint
import triad.launch.command as command
import triad.strategies.mesh  # noqa: F401
from tests.checkpoints.killed import losses
from tests.checkpoints.moved import everything
from train import train
from triad.checkpoints.trained import trained
from triad.launch.rank import run_rank
from triad.runs.directory import Run

TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGING = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")
KILLED = 99
watch: dict[str, Any] = {"below": None, "kill_at": 0, "seen": []}


def audit(event: str, arguments: tuple) -> None:
    """Count an operation, and die before the one that is asked for."""
    if watch["below"] is None or not (event in CHANGING or event == "open"):
        return
    path = arguments[0]
    if not isinstance(path, str | os.PathLike) or (event == "open" and not arguments[2] & WRITING):
        return
    if not (where := os.path.abspath(path)).startswith(watch["below"]):
        return
    name = TEMPORARY.sub(".<temporary>", os.path.relpath(where, watch["below"]))
    watch["seen"].append(f"{event} {name}")
    if len(watch["seen"]) == watch["kill_at"]:
        os._exit(KILLED)


def start(folder: Path, words: list[str], kill_at: int = 0) -> tuple[int, list[str]]:
    """Start train.py in a process of its own, its rank included; the exit code, and the operations."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.chdir(folder)
        os.environ["TRIAD_CACHE"] = str(folder / "cache")
        for number in (1, 2):
            os.dup2(os.open("../output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        command.launch_ranks = lambda script, run, *_: run_rank(train, Run(run))
        sys.argv = [str(Path(__file__).parents[2] / "train.py"), *words]
        watch.update(below=str(folder) + os.sep, kill_at=kill_at)
        code = 1
        try:
            command.compose_and_launch(train)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            watch["below"] = None
            os.write(writer, json.dumps(watch["seen"]).encode())
            os._exit(code)
    os.close(writer)
    with open(reader, "rb") as told:
        seen = told.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), json.loads(seen or "[]")


def go_on(folder: Path, words: list[str]) -> str:
    """What a user types after a kill; what is wrong with the answer, or ""."""
    run = Run(folder / "outputs" / "a")
    if run.passport_file.exists():
        words = ["resume=outputs/a"]
    code, _ = start(folder, words)
    return "" if code == 0 else f"{words[0]} ended with code {code}"


def describe(folder: Path) -> dict[str, Any]:
    """All that a finished run holds, without times and speeds."""
    run = Run(folder / "outputs" / "a")
    rows = [line.split(",") for line in run.metrics_file.read_text().splitlines()]
    columns = [column for column in zip(*rows, strict=True) if not column[0].startswith("perf/")]
    return {
        "files": sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()),
        "metrics.csv": columns,
        "samples.txt": run.samples_file.read_text(),
        "machine.json": {
            key: node["choice"] for key, node in json.loads(run.machine_file.read_text()).items()
        },
        "config.yaml": run.config_file.read_text(),
        "curve.png": matplotlib.image.imread(run.curve_file).shape,
        "tokenizer": trained(run)[1].fingerprint,
        "losses": losses(run.path),
    }


def find_lost(folder: Path, straight: Path) -> str:
    """What is not that of the run that was never killed, or ""."""
    ours, theirs = describe(folder), describe(straight)
    for key in theirs:
        if ours[key] != theirs[key]:
            return f"{key}: {_first_difference(ours[key], theirs[key])}"
    one, other = (everything(place / "outputs" / "a") for place in (folder, straight))
    return min((name for name in one | other if not torch.equal(one[name], other[name])), default="")


def _first_difference(ours: Any, theirs: Any) -> str:
    if isinstance(ours, list):
        more, less = [x for x in ours if x not in theirs], [x for x in theirs if x not in ours]
        return f"{more[:3]} in place of {less[:3]}"[:400]
    return f"{ours!r} in place of {theirs!r}"[:400]


def choose_places(where: str, seen: list[str]) -> list[int]:
    """The numbers of the operations to be killed at, counted from 1."""
    if found := re.fullmatch(r"(\d+)-(\d+)", where):
        return [place for place in range(int(found[1]), int(found[2]) + 1) if place <= len(seen)]
    if found := re.fullmatch(r"(\d+):(\d+)", where):
        return sorted(random.Random(int(found[2])).sample(range(1, len(seen) + 1), int(found[1])))
    return [next(at for at, name in enumerate(seen, 1) if part in name) for part in where.split(",")]


def main(folder: Path, where: str, words: list[str]) -> dict[str, Any]:
    """Kill at operations, each in a run of its own."""
    sys.addaudithook(audit)
    words = [*words, "run_id=a"]
    (straight := folder / "straight").mkdir(parents=True)
    code, seen = start(straight, words)
    if code:
        sys.exit(f"{code}: {(folder / 'output.txt').read_text()[-3000:]}")
    lost = {}
    places = choose_places(where, seen)
    for place in places:
        (killed := folder / f"killed-{place}").mkdir()
        code, _ = start(killed, words, kill_at=place)
        name = f"{place}: {seen[place - 1]}"
        wrong = go_on(killed, words) if code == KILLED else f"it ended with code {code}"
        if wrong := wrong or find_lost(killed, straight):
            lost[name] = wrong
        else:
            shutil.rmtree(killed)
    return {"operations": len(seen), "killed": len(places), "lost": lost, "seen": seen}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3:])))
