"""Continuing a run: its words come back, and its mathematics may change only where that is asked for."""

import json
from pathlib import Path
from typing import Any

from triad.run import read_config
from triad.sentences import Refusal

SYSTEM = (
    "strategy",
    "precision",
    "hardware",
    "trainer",
    "callbacks",
    "logger",
    "tags",
    "output_dir",
    "run_id",
)
FIXED = ("model", "tokenizer", "data", "context", "packed", "seed")


def continued(words: list[str]) -> list[str]:
    """`resume=outputs/<run_id>` stands for what that run was started with; words beside it come on top."""
    found = [word.partition("=")[2] for word in words if word.startswith("resume=")]
    if not found or found[-1] in ("", "null"):
        return words
    directory = Path(found[-1])
    read_config(directory)  # or say that no run is there
    new = [word for word in words if not word.startswith("resume=")]
    named = {key_of(word) for word in new}
    # another choice of a group leaves the keys of the old choice behind
    old = [
        word
        for word in json.loads((directory / "overrides.json").read_text())
        if not {key_of(word), key_of(word).partition(".")[0]} & named
    ]
    return [*old, *new, f"run_id={directory.name}", f"output_dir={directory.parent}"]


def changed_mathematics(old: Any, new: Any, path: str = "") -> list[str]:
    """Keys outside the hardware and logging axes in which two configurations differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [key for key in {**old, **new} if path or key not in SYSTEM]
        found = [changed_mathematics(old.get(key), new.get(key), f"{path}.{key}".lstrip(".")) for key in keys]
        return [key for keys in found for key in keys]
    return [] if old == new else [path]


def check_free(directory: Path, config: dict, asked: list[str], derived: set[str]) -> None:
    """A run's name is given once; resuming needs the same mathematics, but for what is asked by name."""
    if not (directory / "config.yaml").exists():
        return
    if not any(word.startswith("resume=") for word in asked):
        raise Refusal(f"run_id={directory.name}: {directory} exists; resume={directory} continues it")
    named = {key_of(word) for word in asked}
    for key in changed_mathematics(read_config(directory), config):
        fixed = key.partition(".")[0] in FIXED
        if key not in derived and (fixed or not any(key.startswith(name) for name in named)):
            raise Refusal(f"resume={directory}: {key} is not what the run was started with; start a new run")


def key_of(word: str) -> str:
    """The key that a word of the command line sets."""
    return word.lstrip("+~").partition("=")[0].partition("@")[0]
