"""The start of a run: write its directory and its passport (code, versions, machine)."""

import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from triad.config import processes, provenance
from triad.config.directions import directions
from triad.config.identity import fingerprints, leaves
from triad.config.locations import INSTALLED, PACKAGE, REPOSITORY, TRAIN, list_requirements
from triad.config.own_code import fingerprint_packages
from triad.config.secrets import mask_word
from triad.runs.directory import Run, make_wandb_id, read_json
from triad.storage.durable import replace, write
from triad.storage.manifest import checksum, fingerprint


def prepare_run(
    config: dict,
    overrides: list[str],
    chains: provenance.Chains | None = None,
    written: dict | None = None,
    choices: Mapping[str, Any] | None = None,
) -> Run:
    """Write the record of a start; run.json comes last, and from then on the run has begun.

    Of a run that exists it lies beside the old one until `Run.accept`. `written` is the configuration with
    its references and as it was asked for, before the machine decided; `choices` are those of the groups.
    """
    run = Run.of(config)
    run.path.mkdir(parents=True, exist_ok=True)
    draft, written = run.draft(), written or {}
    draft.path.mkdir(exist_ok=True)
    draft.write_config(config, written)
    write(draft.directions_file, directions(config))
    if chains:
        provenance.write_chains(draft.origins_file, chains)
    made = {group: choice for group, choice in (choices or {}).items() if "/" not in group}  # not Hydra's own
    more = {"choices": made, "asked": find_asked(written, config)}
    write_passport(run, overrides, config, processes.describe_machine(config), more, draft)
    draft.error_file.unlink(missing_ok=True)
    return run


def find_asked(written: dict, config: dict) -> dict[str, Any]:
    """What was asked for where the machine or the launcher decided, such as trainer.devices=auto."""
    asked, settled = dict(leaves(written)), dict(leaves(config))
    return {
        key: asked[key]
        for key in processes.DECIDED
        if key in asked and asked[key] != settled.get(key) and "${" not in str(asked[key])
    }


def write_passport(
    run: Run,
    overrides: list[str],
    config: dict,
    machine: dict,
    more: dict[str, Any] | None = None,
    draft: Run | None = None,
) -> None:
    """Record what was typed, on which code, machine and versions; each start of the run adds a line."""
    parts, draft = fingerprints(config), draft or run
    starts = (read_json(run.passport_file) or {"starts": []})["starts"]
    command = [mask_word(word) for word in sys.argv]
    starts.append({"time": datetime.now(UTC).isoformat(timespec="seconds"), "command": command, **parts})
    write(draft.overrides_file, overrides)
    replace(draft.diff_file, _ask_git("diff", "HEAD") or "")
    write(
        draft.passport_file,
        {
            "run_id": run.id,
            "wandb_id": make_wandb_id(run.id),
            **parts,
            **(more or {}),
            "code": fingerprint_code(),
            "git_commit": _ask_git("rev-parse", "HEAD"),
            "python": platform.python_version(),
            "versions": read_versions(),
            "packages": describe_packages(config),
            "machine": machine,
            "environment": processes.read_environment(),
            "starts": starts,
        },
    )


def fingerprint_code() -> str:
    """A fingerprint of the program's source, the same installed or not, so that equal code is known."""
    files = sorted(file for file in PACKAGE.rglob("*.py") if file != TRAIN)
    named = [(TRAIN.name, TRAIN), *((file.relative_to(PACKAGE).as_posix(), file) for file in files)]
    return fingerprint(*((name, checksum(file)) for name, file in named))


def describe_packages(config: dict) -> dict[str, Any]:
    """The packages of one's own that a configuration names: their versions, and fingerprints of their source.

    A record, which permits nothing: triad.config.own_code.
    """
    codes = fingerprint_packages(config)
    return {name: {"version": _read_version(name), "code": code} for name, code in codes.items()}


def read_versions() -> dict[str, str]:
    """Versions of the packages that Triad can use, as far as they are installed."""
    return {name: version for name in list_requirements() if (version := _read_version(name))}


def _read_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _ask_git(*words: str) -> str | None:
    """What git says of the repository; None of an installed package, which may lie in another's."""
    if INSTALLED:
        return None
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=REPOSITORY,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",  # a file may have any encoding
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
