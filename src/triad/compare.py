"""Rank runs, best first, with intervals over their seeds: `python -m triad.compare outputs/*`."""

from inspect import signature
from pathlib import Path

from triad.analysis import leaderboard as boards
from triad.analysis.settings import find_directories, group_by_setting, load_outcome
from triad.analysis.table import print_board
from triad.config.errors import Refusal
from triad.config.schema import suggest


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
        load_outcome(directory)
        for directory in find_directories(overrides or ["outputs"], [*signature(compare).parameters])
    ]
    logged = {key for run in found for key in run.result}
    if logged and metric not in logged:
        raise Refusal(f"metric={metric} is in no result{suggest(metric, sorted(logged))}")
    together = group_by_setting(found)
    ranking = boards.rank_settings(together, metric, goal, by, against)
    if markdown == "-":
        print(boards.to_markdown(ranking), end="")
    else:
        print_board(ranking)
    if markdown and markdown != "-":
        Path(markdown).write_text(boards.to_markdown(ranking), encoding="utf-8")
        print(markdown)
    if page:
        from triad.analysis.html_page import render_page

        Path(page).write_text(render_page(ranking, together), encoding="utf-8")
        print(page)
    if wandb:
        from triad.analysis.wandb_report import send_report

        print(send_report(ranking, Path(page) if page else None))


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(compare)
