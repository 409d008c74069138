"""Rank runs, best first, with intervals over their seeds: `python -m triad.compare outputs/*`."""

from functools import partial
from inspect import signature
from pathlib import Path
from typing import Literal

from triad.analysis import leaderboard as boards
from triad.analysis import table
from triad.analysis.settings import find_directories, load_outcome
from triad.config.errors import Refusal
from triad.config.schema import suggest

GROUP = "Compare runs"


def compare(
    overrides: list[str],
    metric: str = "val/loss",
    goal: boards.Goal = "auto",
    by: str = "",
    against: str | None = None,
    columns: str = "",
    markdown: str | None = None,
    latex: str | None = None,
    csv: str | None = None,
    plot: str | None = None,
    over: Literal["steps", "tokens", "seconds"] = "steps",
    page: str | None = None,
    wandb: bool = False,
) -> None:
    """Rank runs, or all that lie in some directories: python -m triad.compare outputs/* [key=value ...]

    Runs that differ by nothing but the seed are one line: the mean, its 95 % interval, and the paired
    difference to the best line, or to that of `against` (a run, or optimizer=adamw). Runs of other tasks, of
    other text and, for a figure per token, of other tokenizers have tables of their own. by=optimizer keeps
    the best line of each optimizer. columns=tokens,seconds shows further figures or keys, columns=all all.

    `markdown`, `latex` (booktabs), `csv` (all digits) and `page` name files to write; - prints it instead.
    plot=curves.pdf (or .png, .svg) draws the metric over steps, or over=tokens or seconds, with a band for
    the seeds of a line; plot=curves.csv writes the points. wandb=true logs the table to W&B.
    """
    found = [
        load_outcome(directory)
        for directory in find_directories(overrides or ["outputs"], [*signature(compare).parameters])
    ]
    logged = {key for run in found for key in run.result}
    if logged and metric not in logged:
        raise Refusal(f"metric={metric} is in no result{suggest(metric, sorted(logged))}")
    ranked = boards.rank_runs(found, metric, goal, by, against)
    chosen = table.find_columns(columns, ranked)
    texts = {
        markdown: partial(table.to_markdown, ranked, chosen),
        latex: partial(table.to_latex, ranked, chosen),
        csv: partial(table.to_csv, ranked),
    }
    if "-" in texts:
        print(texts["-"](), end="")
    else:
        table.print_boards(ranked, chosen)
    for name, write in texts.items():
        if name and name != "-":
            Path(name).write_text(write(), encoding="utf-8")
            print(name)
    if plot:
        from triad.analysis.plot import write_plot

        write_plot(ranked, over, Path(plot))
        print(plot)
    if page:
        from triad.analysis.html_page import render_page

        Path(page).write_text(render_page(ranked, chosen), encoding="utf-8")
        print(page)
    if wandb:
        from triad.analysis.wandb_report import send_report

        print(send_report(ranked, Path(page) if page else None))


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(compare)
