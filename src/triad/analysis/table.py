"""The table of a comparison on a terminal."""

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from triad.analysis import leaderboard as boards
from triad.analysis.settings import load, settings


def table(
    directories: list[Path],
    states: dict[Path, str] | None = None,
    metric: str = "val/loss",
    goal: boards.Goal = "auto",
) -> None:
    """Print the leaderboard of some run directories; `states` are those known better than from the files."""
    found = [load(directory, (states or {}).get(directory)) for directory in directories]
    show(boards.board(settings(found), metric, goal))


def show(ranking: boards.Board) -> None:
    """Print a leaderboard: as wide as the terminal, or as wide as it takes."""
    shown = Table()
    for head in boards.header(ranking):
        shown.add_column(head, no_wrap=head == "state", max_width=60, overflow="fold")
    for row in boards.cells(ranking):
        shown.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else 1000, highlight=False)
    console.print(shown)
