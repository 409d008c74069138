"""A cache of folders that are built once: locked, atomic and checked."""

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

from triad.storage.durable import name_file
from triad.storage.locks import lock
from triad.storage.manifest import Facts, find_damage, read_manifest, sync, write_manifest

FULL_CHECK_BYTES = 256 << 20  # above this only the size is verified, to keep the start of a run fast


def cache_home() -> Path:
    """Tokens, tokenizers, downloads, measurements: $TRIAD_CACHE, or triad in the user's cache folder.

    Raises ValueError if that follows from a home that is not there.
    """
    chosen = os.environ.get("TRIAD_CACHE")
    path = Path(chosen or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "triad")
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"{path}: the user has no home folder: set TRIAD_CACHE to one for caches") from None


def build_once(folder: Path, build: Callable[[Path], Facts | None]) -> Facts:
    """Return the facts of `folder`, calling `build` only when the folder is not complete.

    `build` writes flat files into the empty folder it is given and may return JSON values worth keeping. The
    folder appears under its name by one rename after its files and manifest are on disk, so a killed build
    leaves nothing that is taken for complete. Of several processes one builds and the others wait for it.
    """
    facts, _ = _verify(folder)
    if facts is not None:
        return facts
    with lock(folder, f"{folder}: another process makes it; waiting"):
        facts, fault = _verify(folder)
        if facts is not None:
            return facts
        if fault:
            warnings.warn(f"{folder}: {fault}; building it again", stacklevel=2)
        return _build(folder, build)


def _build(folder: Path, build: Callable[[Path], Facts | None]) -> Facts:
    """Build beside `folder`, then rename. The caller holds the lock, so leftovers are of dead processes."""
    partial, damaged = (folder.with_name(folder.name + end) for end in (".partial", ".damaged"))
    for leftover in (partial, damaged):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    try:
        with name_file(folder):
            facts = build(partial) or {}
            write_manifest(partial, facts)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if folder.exists():  # a rename cannot replace a folder that holds files
        os.replace(folder, damaged)
    os.replace(partial, folder)
    sync(folder.parent)
    shutil.rmtree(damaged, ignore_errors=True)
    return facts


def _verify(folder: Path) -> tuple[Facts | None, str]:
    """The facts of a complete folder, or None and what is wrong ("" when there is no folder)."""
    if not folder.exists():
        return None, ""
    try:
        facts, files = read_manifest(folder)
    except ValueError as error:
        return None, str(error)
    fault = find_damage(folder, files, FULL_CHECK_BYTES)
    return (None, fault) if fault else (facts, "")
