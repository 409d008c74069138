"""A run is a directory: everything that says what was run, and everything that came of it.

outputs/<run_id>/
    config.yaml     the resolved config              overrides.json  what was typed
    origins.json    where each value comes from       code.diff       uncommitted changes
    run.json        commands, code, versions, machine, fingerprints of mathematics and system
    data.json       fingerprints of text and words    machine.json    what was measured and chosen
    tokenizer/      the vocabulary, to decode with    metrics.csv     every figure logged
    checkpoints/    step-00000500/ ...                result.json     written last: the run is finished
    curve.png       loss over steps                   error.txt       the traceback, if it failed
    metrics.json    which way each metric is better
"""

import json
import os
import platform
import re
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from hashlib import blake2b
from importlib import metadata
from pathlib import Path

import yaml

from triad.config import processes, provenance
from triad.config.directions import directions
from triad.config.identity import fingerprints
from triad.config.locations import REPOSITORY
from triad.config.schema import suggestion
from triad.storage.durable import replace, write
from triad.storage.manifest import checksum, fingerprint

NAME = re.compile(r"[\w.-]+")  # of a package, at the head of a requirement


def new_id(model: str) -> str:
    """Sortable, readable, and distinct when two start in one second."""
    return f"{datetime.now():%Y%m%d-%H%M%S}-{model}-{os.urandom(2).hex()}"


def sweep_id(overrides: list[str], config: dict) -> str:
    """The same for the same job of the same sweep, so that a sweep started again finds its finished jobs."""
    pairs = (word.lstrip("+~").partition("=") for word in overrides)
    words = "-".join(f"{key.rpartition('.')[2]}-{value}" for key, _, value in pairs)
    clean = "".join(c if c.isalnum() or c in "-_." else "-" for c in words)[:60].strip("-")
    return f"{clean}-{blake2b(json.dumps(config, sort_keys=True).encode(), digest_size=4).hexdigest()}"


def prepare(config: dict, overrides: list[str], chains: provenance.Chains | None = None) -> Path:
    """Write the run directory; run.json comes last."""
    directory = Path(config["output_dir"], config["run_id"])
    directory.mkdir(parents=True, exist_ok=True)
    write_config(directory, config)
    write(directory / "metrics.json", directions(config))
    if chains:
        provenance.written(directory / "origins.json", chains)
    passport(directory, overrides, config, processes.machine(config))
    (directory / "error.txt").unlink(missing_ok=True)
    return directory


def passport(directory: Path, overrides: list[str], config: dict, machine: dict) -> None:
    """Record what was typed, on which code, machine and versions; each start of the run adds a line."""
    path = directory / "run.json"
    parts = fingerprints(config)
    starts = json.loads(path.read_text())["starts"] if path.exists() else []
    starts.append({"time": datetime.now(UTC).isoformat(timespec="seconds"), "command": sys.argv, **parts})
    write(directory / "overrides.json", overrides)
    (directory / "code.diff").write_text(_git("diff", "HEAD") or "", encoding="utf-8")
    write(
        path,
        {
            "run_id": directory.name,
            **parts,
            "code": code(),
            "git_commit": _git("rev-parse", "HEAD"),
            "python": platform.python_version(),
            "versions": versions(),
            "machine": machine,
            "environment": processes.environment(),
            "starts": starts,
        },
    )


def code() -> str:
    """A fingerprint of the program's source, so that equal code is known without git."""
    files = [REPOSITORY / "train.py", *sorted(Path(__file__).parents[1].rglob("*.py"))]
    return fingerprint(*((file.relative_to(REPOSITORY).as_posix(), checksum(file)) for file in files))


def versions() -> dict[str, str]:
    """Versions of the packages that Triad can use, as far as they are installed."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [project["dependencies"], *project["optional-dependencies"].values()]
    names = sorted({found[0] for lines in wanted for line in lines if (found := NAME.match(line))})
    return {name: version for name in names if (version := _version(name))}


def write_config(directory: Path, config: dict) -> None:
    """The resolved configuration, as YAML for people and for the ranks."""
    replace(directory / "config.yaml", yaml.safe_dump(config, sort_keys=False))


def read_config(directory: Path) -> dict:
    """The resolved configuration of a run. Raises FileNotFoundError, naming runs that are there."""
    path = directory / "config.yaml"
    if not path.is_file():
        runs = sorted(found.parent.name for found in directory.parent.glob("*/config.yaml"))
        raise FileNotFoundError(f"{directory}: no run is there{suggestion(directory.name, runs)}")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def pin(directory: Path, facts: dict) -> None:
    """Keep the fingerprints of what a run is trained on. Raises ValueError if a resumed run has others."""
    path = directory / "data.json"
    if not path.exists():
        write(path, facts)
    elif json.loads(path.read_text()) != facts:
        raise ValueError(
            f"resume={directory}: the text or its tokenizer is not what the run was started with;"
            " start a new run"
        )


def finish(directory: Path, result: dict) -> None:
    """Write the result; from now on the run is finished."""
    write(directory / "result.json", result)


def result(directory: Path) -> dict | None:
    """What a finished run came to, or None."""
    path = directory / "result.json"
    return json.loads(path.read_text()) if path.exists() else None


def better(directory: Path) -> dict[str, str]:
    """Which way each metric of a run is better, as far as it says so."""
    path = directory / "metrics.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
