"""Python's standard library as a corpus."""

import sysconfig
from functools import partial
from pathlib import Path

from triad.data.sources.finding import walk_files
from triad.data.sources.source import Text
from triad.data.sources.splits import check_fraction, split_by_hash

NOT_LIBRARY = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}


OF_THE_BUILD = ("_sysconfigdata", "sitecustomize", "python-config")  # these hold folders of one machine


def stdlib(val_fraction: float) -> Text:
    """The running Python's standard library without its tests: one document per source file."""
    return stdlib_without(val_fraction, [])


def stdlib_without(val_fraction: float, without: list[str]) -> Text:
    """The same without some packages and modules, by name: what another source of a mixture may have."""
    check_fraction(val_fraction)
    root = Path(sysconfig.get_path("stdlib"))
    sources = [
        found
        for found in walk_files(root, NOT_LIBRARY)
        if found.path.suffix == ".py"
        and not found.path.name.startswith(OF_THE_BUILD)
        and found.name.removesuffix(".py").partition("/")[0] not in without
    ]
    if not sources:
        raise FileNotFoundError(f"{root}: this Python has no library sources; use data=text data.path=FOLDER")
    return Text("stdlib", partial(split_by_hash, sources, "", None, val_fraction), "PSF-2.0")
