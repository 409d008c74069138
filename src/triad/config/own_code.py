"""One's own code and configurations, outside of Triad: `packages=[mypkg]` and `--config-dir DIR`.

A `_target_` may name what such a package defines. Only two things permit that: the word, typed at this very
start, or an entry point of the group `triad.parts`, which whoever installed the package has allowed:

    [project.entry-points."triad.parts"]        in the package's pyproject.toml
    mypkg = "mypkg"

No file permits it: neither a configuration nor a sweep file, nor the record of a run, which may be a
stranger's. Nothing is imported here; a package is imported when a part of it is built.
"""

import os
import re
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from functools import cache
from importlib import invalidate_caches, metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from triad.config.errors import Refusal
from triad.config.locations import CONF, NAME, list_requirements, own_folders, own_packages
from triad.storage.manifest import fingerprint_source

KEY, FLAGS = "packages", ("--config-dir", "-cd")
GROUP = "triad.parts"
typed: list[str] = []  # the names of the word, for the processes that this one starts


def take_own_code(words: list[str]) -> list[str]:
    """Permit what the words of a start name, from here on in this process; the other words."""
    packages, folder, rest = _parse(words)
    _permit(packages, folder)
    return rest


@contextmanager
def permitting(words: list[str]) -> Generator[list[str]]:
    """Within, what the words name is permitted; gives the other words."""
    before = dict(own_packages), [*own_folders], [*typed]
    try:
        yield take_own_code(words)
    finally:
        own_packages.clear()
        own_packages.update(before[0])
        own_folders[:], typed[:] = before[1], before[2]


def repeat_words() -> list[str]:
    """The words that permit in another process what they permitted in this one."""
    return [f"{KEY}=[{','.join(typed)}]"] if typed else []


def repeat_flags() -> list[str]:
    """The option that names one's own folder of configurations."""
    return [word for folder in own_folders for word in (FLAGS[0], str(folder))]


def is_permission(word: str) -> bool:
    """Whether a word permits a package: no word out of a file may."""
    return word.lstrip("+").partition("=")[0] == KEY


def is_permitted(package: str) -> bool:
    """Whether parts of a package may be built: one that was typed, or that an entry point names."""
    if package in _find_installed() and package not in own_packages:
        own_packages[package] = _get_place(_find(package))
    return package in own_packages


def fingerprint_packages(node: Any) -> dict[str, str]:
    """The packages of one's own that a configuration names, each with a fingerprint of its source."""
    named = sorted({name for name in _walk_packages(node) if is_permitted(name)})
    return {name: fingerprint_source(own_packages[name]) for name in named}


def tell_word(package: str) -> str:
    """What permits a package, for a sentence that refuses a part of it; "" for one that nothing permits."""
    if not package.isidentifier() or package.startswith("_") or _find_reason(package):
        return ""
    return f"add {KEY}=[{package}] if that code is yours or you trust it"


def _parse(words: list[str]) -> tuple[list[str], str | None, list[str]]:
    packages: list[str] = []
    folder, rest, left = None, [], iter(words)
    for word in left:
        key, sign, value = word.partition("=")
        if key == KEY and sign:
            names = value.strip("'\"").removeprefix("[").removesuffix("]").split(",")
            packages += [name.strip(" '\"") for name in names]
        elif key in FLAGS:
            folder = value if sign else next(left, "")
        else:
            rest.append(word)
    return list(dict.fromkeys(packages)), folder, rest


def _permit(packages: list[str], folder: str | None) -> None:
    for name in packages:
        own_packages[name] = _get_place(_find(name))
        if name not in typed:
            typed.append(name)
    if folder is not None:
        if not Path(folder).is_dir():
            raise Refusal(f"{FLAGS[0]} {folder}: no folder is there")
        _refuse_hidden(Path(folder))
        own_folders[:] = [Path(folder).absolute()]


def _find(name: str) -> ModuleSpec:
    """Where a package is found: installed, or in the current folder, which is then searched last.

    Raises Refusal where it is in neither, or in both.
    """
    word = f"{KEY}=[{name}]"
    if not name.isidentifier() or name.startswith("_"):
        raise Refusal(f"{word}: give the name of a package, without dots or a path, such as {KEY}=[mypkg]")
    folder = os.getcwd()
    here, elsewhere = PathFinder.find_spec(name, [folder]), _find_elsewhere(name, folder)
    if reason := _find_reason(name, elsewhere is not None):
        raise Refusal(f"{word}: {reason}; put what you need into a package of your own")
    if here and here.origin is None and elsewhere and elsewhere.origin:
        here = None  # a folder without __init__.py yields to a package, as it does for import
    if here and elsewhere and _get_place(here).resolve() != _get_place(elsewhere).resolve():
        raise Refusal(
            f"{word}: one is in the current folder and another is {_get_place(elsewhere)}: rename yours"
        )
    if here and not {"", folder} & {*sys.path}:
        sys.path.append(folder)  # behind all others, so that nothing else in it shadows a library
        invalidate_caches()
    if found := here or elsewhere:
        return found
    near = get_close_matches(name, [path.stem for path in Path(folder).iterdir()], 1)
    raise Refusal(
        f"{word}: neither the current folder nor what is installed has a package of this name"
        + (f"; did you mean {near[0]}?" if near else f": start in the folder that {name} lies in")
    )


def _find_elsewhere(name: str, folder: str) -> ModuleSpec | None:
    """A package that is installed, `pip install -e` included, or on PYTHONPATH."""
    path = [place for place in sys.path if place not in ("", folder)]
    specs = (finder.find_spec(name, path if finder is PathFinder else None) for finder in sys.meta_path)
    return next(filter(None, specs), None)


def _find_reason(name: str, installed: bool = True) -> str:
    """Why a package is none that a configuration may call, or ""."""
    if name in sys.stdlib_module_names:
        return f"{name} is of Python itself, which no configuration calls"
    if name == __name__.partition(".")[0]:
        return f"{name} is this program, whose parts need no permission"
    if installed and name in _list_libraries():
        return f"{name} is a library that Triad uses, of which a configuration calls what Triad names"
    return ""


@cache
def _list_libraries() -> set[str]:
    """The import names of all that Triad requires, and of what that requires, as far as it is installed."""
    left, required = [*list_requirements()], set()
    while left:
        if (name := _normalise(left.pop())) not in required:
            required.add(name)
            with suppress(metadata.PackageNotFoundError):
                left += [found[0] for line in metadata.requires(name) or () if (found := NAME.match(line))]
    projects = metadata.packages_distributions()
    return {name for name, theirs in projects.items() if required & {*map(_normalise, theirs)}}


@cache
def _find_installed() -> set[str]:
    """The packages that entry points name."""
    named = {point.value.partition(":")[0].partition(".")[0] for point in metadata.entry_points(group=GROUP)}
    return {name for name in named if not _find_reason(name)}


def _normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _get_place(found: ModuleSpec) -> Path:
    """The folder of a package, or the file of a module."""
    places = found.submodule_search_locations
    return Path(next(iter(places)) if places is not None else found.origin or "")


def _refuse_hidden(folder: Path) -> None:
    """Raise Refusal for a file that is never read, as Triad has one of the same name."""
    for path in sorted(CONF.rglob("*.yaml")):
        name = path.relative_to(CONF)
        if (own := folder / name).is_file() and own.read_bytes() != path.read_bytes():
            raise Refusal(f"{FLAGS[0]} {folder}: {name} is hidden by Triad's own; give it another name")


def _walk_packages(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(target := node.get("_target_"), str):
            yield target.partition(".")[0]
        for value in node.values():
            yield from _walk_packages(value)
    elif isinstance(node, list):
        for item in node:
            yield from _walk_packages(item)
