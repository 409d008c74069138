"""A cache of folders that are built once: locked, atomic and checked."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path

from triad.storage.durable import replacing_folder, sweep_temporaries
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
    sweep_temporaries(folder.parent, folder.name)
    with replacing_folder(folder) as beside:
        facts = build(beside) or {}
        write_manifest(beside, facts)
    sync(folder.parent)
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
