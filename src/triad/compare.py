"""Runs side by side, best first: `python -m triad.compare outputs/*`."""

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from triad import run as runs

COLUMNS = ("val/loss", "val/bits_per_byte", "perf/tokens_per_s", "steps", "perf/train_s")


def table(directories: list[Path], states: dict[Path, str] | None = None) -> None:
    """Print the result of each run, best validation loss first; runs without one come last."""
    shown = Table("run", "state", *COLUMNS)
    results = {directory: runs.result(directory) for directory in directories}
    for directory in sorted(directories, key=lambda d: (results[d] or {}).get("val/loss", float("inf"))):
        result = results[directory] or {}
        state = (states or {}).get(directory) or ("finished" if result else "unfinished")
        cells = ["" if (value := result.get(key)) is None else f"{value:.5g}" for key in COLUMNS]
        shown.add_row(directory.name, state, *cells)
    Console(width=None if sys.stdout.isatty() else 160).print(shown)


if __name__ == "__main__":
    found = [path for word in sys.argv[1:] or ["outputs"] for path in (Path(word), *Path(word).glob("*"))]
    table([path for path in found if (path / "config.yaml").is_file()])
