"""Files that are complete or absent, and locks."""

import fcntl
import json
import math
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def lock(path: Path) -> Generator[None]:
    """Keep other processes from making `path`; the lock lies beside it and goes when this process does.

    The lock's file stays, as removing it would race with a process that waits for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write(path: Path, value: dict | list) -> None:
    """Write JSON atomically: a reader sees the old file or the new one. Numbers that are not finite: null."""
    replace(path, json.dumps(_without_infinities(value), indent=1, allow_nan=False) + "\n")


def _without_infinities(value: Any) -> Any:
    """JSON has no Infinity and no NaN."""
    if isinstance(value, dict):
        return {key: _without_infinities(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinities(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def hold(directory: Path) -> Generator[None]:
    """Lock a run's directory against a second process. Raises BlockingIOError if another one holds it.

    A directory in which nothing was written while it was held is removed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (path := directory / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            said = f"{directory}: another process is running it; wait for it or end it"
            raise BlockingIOError(said) from None
        try:
            yield
        finally:
            if [*directory.iterdir()] == [path]:
                path.unlink()
                directory.rmdir()


def replace(path: Path, text: str) -> None:
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # several ranks may write alike
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
