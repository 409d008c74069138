"""What a start is about to do: one line on standard error before each stage that takes seconds."""

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

SLOW = ("torch", "lightning")  # packages whose import takes seconds


def announce(stage: str) -> None:
    """Print a stage at once, on the first rank alone: `announce("composing")`."""
    if os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0":
        print(f"{stage} ...", file=sys.stderr, flush=True)


def announce_imports() -> None:
    """Announce each package of SLOW when it is imported, whoever imports it."""
    if not any(isinstance(finder, _SlowImports) for finder in sys.meta_path):
        sys.meta_path.insert(0, _SlowImports())


class _SlowImports(MetaPathFinder):
    """Finds what Python's own finder finds, with a loader that announces what it loads.

    Who only asks where a package lies, as importlib.util.find_spec does, loads nothing.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in SLOW else None
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def announce_and_load(module: ModuleType) -> Any:
            announce(f"importing {fullname}")
            return load(module)

        spec.loader.exec_module = announce_and_load
        return spec
