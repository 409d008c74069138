"""Folders made once and kept: locked, atomic and checked."""

import fcntl
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FULL_CHECK_BYTES = 256 << 20  # above this only the size is verified, to keep the start of a run fast
Facts = dict[str, Any]


def home() -> Path:
    """Tokens, tokenizers, downloads, measurements: $TRIAD_CACHE, or triad in the user's cache folder."""
    chosen = os.environ.get("TRIAD_CACHE")
    return Path(chosen or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "triad").expanduser()


def fingerprint(*parts: Any) -> str:
    """32 hexadecimal digits that name these JSON values."""
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def cached(folder: Path, build: Callable[[Path], Facts | None]) -> Facts:
    """Return what `build` said of `folder`, calling it only when the folder is not complete.

    `build` writes flat files into the empty folder it is given and may return JSON values worth keeping. The
    folder appears under its name by one rename after its files and manifest are on disk, so a killed build
    leaves nothing that is taken for complete. Of several processes one builds and the others wait for it.
    """
    facts, _ = _verify(folder)
    if facts is not None:
        return facts
    with locked(folder):
        facts, damage = _verify(folder)
        if facts is not None:
            return facts
        if damage:
            warnings.warn(f"{folder}: {damage}; building it again", stacklevel=2)
        return _build(folder, build)


def _build(folder: Path, build: Callable[[Path], Facts | None]) -> Facts:
    """Build beside `folder`, then rename. The caller holds the lock, so leftovers are of dead processes."""
    partial, damaged = (folder.with_name(folder.name + end) for end in (".partial", ".damaged"))
    for leftover in (partial, damaged):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    try:
        facts = build(partial) or {}
        _write_manifest(partial, facts)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if folder.exists():  # a rename cannot replace a folder that holds files
        os.replace(folder, damaged)
    os.replace(partial, folder)
    sync(folder.parent)
    shutil.rmtree(damaged, ignore_errors=True)
    return facts


def _write_manifest(folder: Path, facts: Facts) -> None:
    """Describe every file, with the manifest last, all on disk."""
    files = {}
    for path in sorted(folder.iterdir()):
        sync(path)
        files[path.name] = {"bytes": path.stat().st_size, "blake2b": checksum(path)}
    manifest = {"facts": facts, "files": files}
    manifest["checksum"] = fingerprint(facts, files)
    path = folder / "manifest.json"
    path.write_text(json.dumps(manifest, indent=1))
    sync(path)
    sync(folder)


def _verify(folder: Path) -> tuple[Facts | None, str]:
    """The facts of a complete folder, or None and what is wrong ("" when there is no folder)."""
    if not folder.exists():
        return None, ""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        facts, files = manifest["facts"], manifest["files"]
        if manifest["checksum"] != fingerprint(facts, files):
            return None, "manifest.json is damaged"
        damage = next((d for name, entry in files.items() if (d := _damage(folder / name, entry))), "")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return None, f"manifest.json cannot be read ({type(error).__name__})"
    return (None, damage) if damage else (facts, "")


def _damage(path: Path, entry: dict[str, Any]) -> str:
    """What is wrong with one file, or ""."""
    if not path.is_file():
        return f"{path.name} is missing"
    size = path.stat().st_size
    if size != entry["bytes"]:
        return f"{path.name} has {size} bytes instead of {entry['bytes']}"
    if size < FULL_CHECK_BYTES and checksum(path) != entry["blake2b"]:
        return f"{path.name} has a wrong checksum"
    return ""


def checksum(path: Path) -> str:
    """blake2b of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def sync(path: Path) -> None:
    """Force a file or a folder to disk, so that the rename never gets there before the contents."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Keep other processes from making `path`; the lock lies beside it and goes when this process does.

    The lock's file stays, as removing it would race with a process that waits for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
