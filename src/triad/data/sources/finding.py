"""The one way to files: paths, folders and globs, each file once whatever links and patterns say."""

import os
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from itertools import count
from pathlib import Path

from triad.data.sources.malformed import Skipped
from triad.data.sources.opening import Quota, TextFile
from triad.storage.manifest import checksum

WILD = set("*?[")


def find(asked: str | list[str], key: str, quota: Quota, skipped: Skipped | None = None) -> list[TextFile]:
    """Files of each path, folder (recursively) or glob, in order of name, each once by its real path.

    Links are followed. A name that an earlier file has is preceded by the folders that tell them apart.
    Raises FileNotFoundError when one gives none, and ValueError for more bytes than the quota allows, as far
    as that is known before compressed files are read.
    """
    found: dict[str, TextFile] = {}
    names: set[str] = set()
    skipped = skipped or Skipped()
    for pattern in [asked] if isinstance(asked, str) else asked:
        files = _find_one(Path(pattern).expanduser(), quota, skipped)
        if not files:
            raise FileNotFoundError(f"{key}: {pattern!r} is no file, folder with files or glob; check {key}")
        for file in files:
            if (real := os.path.realpath(file.path)) not in found:
                name = next(name for name in _propose_names(file) if name not in names)
                names.add(name)
                found[real] = file._replace(name=name)
    if not found:
        raise FileNotFoundError(f"{key}: the list is empty; name a file, folder or glob")
    for file in found.values():
        if not file.packed:
            size = file.path.stat().st_size
            quota.charge(file.path, size, size)
    return list(found.values())


def _propose_names(file: TextFile) -> Iterator[str]:
    """The name of a file, the same with more and more of the folders above it, and then numbered."""
    yield file.name
    parts = file.path.parts
    for begin in range(len(parts) - file.name.count("/") - 2, -1, -1):
        yield Path(*parts[begin:]).as_posix()
    yield from (f"{file.name} ({number})" for number in count(2))


def find_file(asked: str, key: str, quota: Quota, skipped: Skipped | None = None) -> TextFile:
    """The one file of a path."""
    found = find(asked, key, quota, skipped)
    if len(found) > 1:
        raise ValueError(f"{key}={asked}: {len(found)} files, where one is read; name one")
    return found[0]


def walk_files(
    root: Path,
    without: Collection[str] = (),
    quota: Quota | None = None,
    skipped: Skipped | None = None,
) -> list[TextFile]:
    """Files below `root` in order of name, passing over hidden ones and folders named in `without`."""
    paths = (path for folder in _walk_folders(root, without) for path in _list(folder))
    return _name_files(paths, root, quota or Quota(), skipped or Skipped())


def refuse_shared(files: list[TextFile], others: list[TextFile], key: str, other_key: str) -> None:
    """Raise ValueError for a file of two splits, and where all of the other split is copies of the one."""
    known = {os.path.realpath(file.path) for file in files}
    for file in others:
        if os.path.realpath(file.path) in known:
            raise ValueError(
                f"{file.path} is in two splits at once, by {key} and {other_key}; leave it out of one of them"
            )
    if copies := _find_copies(files, others):
        copy, original = copies[0]
        raise ValueError(
            f"{copy} of {other_key} is a copy of {original} of {key}, and so is all of {other_key}; give "
            f"other files, or no {other_key}"
        )


def _find_copies(files: list[TextFile], others: list[TextFile]) -> list[tuple[Path, Path]]:
    """Each of the others and its copy among the files, or none where one of them has no copy."""
    copies = []
    for path in (file.path for file in others if file.path.stat().st_size):
        size = path.stat().st_size
        like = [file.path for file in files if file.path.stat().st_size == size]
        found = next((other for other in like if checksum(other) == checksum(path)), None)
        if found is None:
            return []
        copies.append((path, found))
    return copies


def _find_one(path: Path, quota: Quota, skipped: Skipped) -> list[TextFile]:
    if path.is_file():
        return [TextFile(path.name, path, quota, skipped)]
    if path.is_dir():
        return walk_files(path, quota=quota, skipped=skipped)
    fixed = path
    while WILD & set(str(fixed)):
        fixed = fixed.parent
    parts = path.relative_to(fixed).parts
    places = [fixed]
    for part in (*parts, "*") if parts[-1:] == ("**",) else parts:
        places = list(dict.fromkeys(match for place in places for match in _match(place, part)))
    return _name_files(places, fixed, quota, skipped) if parts else []


def _match(folder: Path, part: str) -> Iterator[Path]:
    """What one part of a glob matches in a folder, as glob.glob has it, but that loops of links end."""
    if part == "**":
        yield from _walk_folders(folder)
    elif WILD & set(part):
        hidden = part.startswith(".")
        yield from (path for path in _list(folder, hidden) if fnmatchcase(path.name, part))
    elif (folder / part).exists():
        yield folder / part


def _name_files(paths: Iterable[Path], root: Path, quota: Quota, skipped: Skipped) -> list[TextFile]:
    """The files among these in order of name; of several names the one without a link, then the first."""
    base, found = os.path.realpath(root), {}
    for path in paths:
        if path.is_file():
            name, real = path.relative_to(root).as_posix(), os.path.realpath(path)
            rank = real != os.path.join(base, name), name
            found[real] = min(found.get(real, (rank, path)), (rank, path))
    named = sorted((name, path) for (_, name), path in found.values())
    return [TextFile(name, path, quota, skipped) for name, path in named]


def _walk_folders(root: Path, without: Collection[str] = ()) -> Iterator[Path]:
    """A folder and all below it, each once by its real path; those that links lead to come last."""
    seen, folders, linked = set(), deque([root]), deque()
    while folders or linked:
        folder = (folders or linked).popleft()
        if (real := os.path.realpath(folder)) not in seen:
            seen.add(real)
            yield folder
            for path in _list(folder):
                if path.is_dir() and path.name not in without:
                    (linked if path.is_symlink() else folders).append(path)


def _list(folder: Path, hidden: bool = False) -> list[Path]:
    """What a folder has, in order of name; nothing of what is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if hidden or not path.name.startswith("."))
