"""The table of a comparison on a terminal."""

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from triad.analysis import leaderboard as boards
from triad.analysis.settings import group_by_setting, load_outcome


def print_runs(
    directories: list[Path],
    states: dict[Path, str] | None = None,
    metric: str = "val/loss",
    goal: boards.Goal = "auto",
) -> None:
    """Print the leaderboard of some run directories; `states` are those known better than from the files."""
    found = [
        load_outcome(directory, (states or {}).get(directory), states is None) for directory in directories
    ]
    print_board(boards.rank_settings(group_by_setting(found), metric, goal))


def print_board(ranking: boards.Board) -> None:
    """Print a leaderboard: as wide as the terminal, or as wide as it takes."""
    shown = Table()
    for head in boards.make_header(ranking):
        shown.add_column(head, no_wrap=head == "state", max_width=60, overflow="fold")
    for row in boards.make_cells(ranking):
        shown.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else 1000, highlight=False, markup=False, emoji=False)
    console.print(shown)
