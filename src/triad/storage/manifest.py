"""manifest.json of a folder: facts, and a checksum of every file. Written last, so the folder is complete."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
Facts = dict[str, Any]
Files = dict[str, dict[str, Any]]  # by name
Part = tuple[int, int]


def fingerprint(*parts: Any) -> str:
    """32 hexadecimal digits that name these JSON values."""
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def checksum(path: Path) -> str:
    """blake2b of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def fingerprint_source(place: Path) -> str:
    """A fingerprint of the Python files of a package, or of the file of a module."""
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    return fingerprint(*((file.relative_to(place.parent).as_posix(), checksum(file)) for file in files))


def sync(path: Path) -> None:
    """Force a file or a folder to disk, so that a rename never gets there before the contents."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def describe_file(path: Path) -> dict[str, Any]:
    """The entry of a file in a manifest; forces the file to disk."""
    sync(path)
    return {"bytes": path.stat().st_size, "blake2b": checksum(path)}


def write_manifest(folder: Path, facts: Facts, files: Files | None = None) -> None:
    """Write the manifest of a folder, all on disk; `files` if they have been described already."""
    if files is None:
        files = {path.name: describe_file(path) for path in sorted(folder.iterdir())}
    manifest = {"facts": facts, "files": files}
    manifest["checksum"] = fingerprint(facts, files)
    path = folder / MANIFEST
    path.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    sync(path)
    sync(folder)


def read_manifest(folder: Path) -> tuple[Facts, Files]:
    """Facts and files of a complete folder. Raises ValueError that says what is wrong with its manifest."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        facts, files = manifest["facts"], manifest["files"]
        sound = manifest["checksum"] == fingerprint(facts, files)
        sound &= all({"bytes", "blake2b"} <= entry.keys() for entry in files.values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{MANIFEST} cannot be read ({type(error).__name__})") from error
    if not sound:
        raise ValueError(f"{MANIFEST} is damaged")
    return facts, files


def find_damage(
    folder: Path, files: Files, full_check_bytes: float = float("inf"), part: Part = (0, 1)
) -> str:
    """What is wrong with the files of a folder, or "". Of larger files only the size is looked at.

    `part` (i, n) is every n-th file from the i-th on: n processes share the work.
    """
    names = sorted(files)[part[0] :: part[1]]
    faults = (_fault(folder / name, files[name], full_check_bytes) for name in names)
    return next(filter(None, faults), "")


def _fault(path: Path, entry: dict[str, Any], full_check_bytes: float) -> str:
    if not path.is_file():
        return f"{path.name} is missing"
    size = path.stat().st_size
    if size != entry["bytes"]:
        return f"{path.name} has {size} bytes instead of {entry['bytes']}"
    if size < full_check_bytes and checksum(path) != entry["blake2b"]:
        return f"{path.name} has a wrong checksum"
    return ""
