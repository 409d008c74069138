"""Files that are complete or absent, and files that are written in place."""

import errno
import json
import math
import os
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

TEMPORARY = re.compile(r"(.+)\.[0-9a-f]{16}\.tmp")


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


def replace(path: Path, text: str) -> None:
    """Write a text atomically, as `write` does JSON."""
    with replacing(path) as file:
        file.write(text.encode())


@contextmanager
def replacing(path: Path) -> Generator[IO[bytes]]:
    """A file that takes the place of `path` when it is complete; of a symbolic link, not of its target."""
    beside = make_temporary_name(path)
    with name_file(path):
        try:
            with beside.open("xb") as file:
                yield file
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


@contextmanager
def replacing_folder(path: Path) -> Generator[Path]:
    """A folder that takes the place of `path` when what is written into it is complete."""
    beside = make_temporary_name(path)
    with name_file(path):
        try:
            beside.mkdir(parents=True)
            yield beside
            if path.exists():  # a rename cannot replace a folder that holds files
                os.rename(path, old := make_temporary_name(path))
                os.rename(beside, path)
                remove_tree(old)
            else:
                os.rename(beside, path)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise


def make_temporary_name(path: Path) -> Path:
    """A name beside `path` that nobody else has: a process's number is not unique between containers."""
    return path.with_name(f"{path.name}.{os.urandom(8).hex()}.tmp")


def sweep_temporaries(folder: Path, name: str = "") -> None:
    """Remove what killed writers have left, of one file or of all; the caller holds the lock of the place."""
    for path in folder.glob("*.tmp"):
        if (found := TEMPORARY.fullmatch(path.name)) and name in ("", found[1]):
            if path.is_dir() and not path.is_symlink():
                remove_tree(path)
            else:
                path.unlink(missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it.

    On NFS a file that somebody still has open becomes `.nfs...`, which cannot be removed before they close
    it, nor can its folder: these stay. Raises OSError if anything else does.
    """
    shutil.rmtree(folder, ignore_errors=True)
    left = [path for path in (folder, *folder.rglob("*")) if path.exists()]
    if left and not any(path.name.startswith(".nfs") for path in left):
        shutil.rmtree(folder)  # once more, to raise what is wrong


def open_in_place(path: Path | str, flags: int) -> int:
    """Open a file that is written in place, as an `opener`: never through a symbolic link.

    Raises OSError that names the link: whoever planted it would have its target overwritten.
    """
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(f"{path}: is a symbolic link, through which nothing is written; remove it") from None


@contextmanager
def name_file(path: Path) -> Generator[None]:
    """Have an error of the system that names no file, such as that of a full disk, name this one."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise
