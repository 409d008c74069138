"""Python's standard library as a corpus."""

import sysconfig
from functools import partial
from pathlib import Path

from triad.data.sources.finding import walk_files
from triad.data.sources.source import Text, check_fraction, split_by_hash

NOT_LIBRARY = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}


OF_THE_BUILD = ("_sysconfigdata", "sitecustomize", "python-config")  # these hold folders of one machine


def stdlib(val_fraction: float) -> Text:
    """The running Python's standard library without its tests: one document per source file."""
    check_fraction(val_fraction)
    root = Path(sysconfig.get_path("stdlib"))
    sources = [
        found
        for found in walk_files(root, NOT_LIBRARY)
        if found.path.suffix == ".py" and not found.path.name.startswith(OF_THE_BUILD)
    ]
    if not sources:
        raise FileNotFoundError(f"{root}: this Python has no library sources; use data=text data.path=FOLDER")
    return Text("stdlib", partial(split_by_hash, sources, "", val_fraction), "PSF-2.0")
