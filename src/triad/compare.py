"""Runs side by side, best first: `python -m triad.compare outputs/*`."""

import sys
from inspect import signature
from pathlib import Path

from rich.console import Console
from rich.table import Table

from triad.leaderboard import board as boards
from triad.leaderboard.runs import directories_of, load, settings
from triad.sentences import Refusal
from triad.signature import suggestion


def compare(
    overrides: list[str],
    metric: str = "val/loss",
    goal: boards.Goal = "auto",
    by: str = "",
    against: str | None = None,
    markdown: str | None = None,
    page: str | None = None,
    wandb: bool = False,
) -> None:
    """Rank runs, or all that lie in some directories: python -m triad.compare outputs/* [key=value ...]

    Runs that differ by nothing but the seed are one line: the mean, its 95 % interval, and the paired
    difference to the best line, or to that of `against` (a run, or optimizer=adamw). by=optimizer keeps the
    best line of each optimizer. `markdown` and `page` name files to write (markdown=- prints it instead);
    wandb=true logs the table to W&B.
    """
    found = [
        load(directory)
        for directory in directories_of(overrides or ["outputs"], [*signature(compare).parameters])
    ]
    logged = {key for run in found for key in run.result}
    if logged and metric not in logged:
        raise Refusal(f"metric={metric} is in no result{suggestion(metric, sorted(logged))}")
    together = settings(found)
    ranking = boards.board(together, metric, goal, by, against)
    if markdown == "-":
        print(boards.markdown(ranking), end="")
    else:
        show(ranking)
    if markdown and markdown != "-":
        Path(markdown).write_text(boards.markdown(ranking), encoding="utf-8")
        print(markdown)
    if page:
        from triad.leaderboard.page import render

        Path(page).write_text(render(ranking, together), encoding="utf-8")
        print(page)
    if wandb:
        from triad.leaderboard.wandb import send

        print(send(ranking, Path(page) if page else None))


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


if __name__ == "__main__":
    from triad.verbs import verb

    verb(compare)
