"""Labelled passages of Python's standard library."""

import sysconfig
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

from triad.data.sources.finding import walk_files
from triad.data.sources.opening import TextFile
from triad.data.sources.reading import read_lines
from triad.data.sources.source import Document, Labelled, Split
from triad.data.sources.splits import check_fraction, hash_text
from triad.data.sources.stdlib import NOT_LIBRARY


def packages(packages: list[str], lines: Annotated[int, ">= 1"], val_fraction: float) -> Labelled:
    """Passages of the running Python's standard library, each labelled with the package that it is from.

    A passage is `lines` lines of a file. Of each package files are for validation that together have this
    share of its bytes at most, taken by the hash of their names; or else its smallest. Raises ValueError for
    a package that is not there, and for one of a single file.
    """
    if lines < 1:
        raise ValueError(f"data.lines={lines}: a passage has at least one line")
    check_fraction(val_fraction)
    root = Path(sysconfig.get_path("stdlib"))
    splits: dict[Split, list[TextFile]] = {"train": [], "val": []}
    for package in packages:
        found = [
            file._replace(name=f"{package}/{file.name}")
            for file in walk_files(root / package, NOT_LIBRARY)
            if file.kind == ".py" and file.path.stat().st_size
        ]
        if len(found) < 2:
            raise ValueError(
                f"data.packages: {package} has {len(found)} files in this Python's library, and one is "
                "needed to learn from and one to validate; leave it out"
            )
        held_out = _choose_held_out(found, val_fraction)
        splits["val"] += held_out
        splits["train"] += [file for file in found if file not in held_out]
    return Labelled("packages", partial(_read_passages, splits, lines), "PSF-2.0")


def _choose_held_out(found: list[TextFile], fraction: float) -> list[TextFile]:
    size_of = {file: file.path.stat().st_size for file in found}
    room = fraction * sum(size_of.values())
    chosen = []
    for file in sorted(found, key=lambda file: hash_text(file.name)):
        if size_of[file] <= room:
            chosen.append(file)
            room -= size_of[file]
    return sorted(chosen) or [min(found, key=lambda file: size_of[file])]


def _read_passages(splits: dict[Split, list[TextFile]], lines: int, split: Split) -> Iterator[Document]:
    for file in splits[split]:
        every = list(read_lines(file))
        for first in range(0, len(every), lines):
            text = "".join(every[first : first + lines])
            if text.strip():
                yield Document(f"{file.name}:{first + 1}", text, file.name.partition("/")[0])
