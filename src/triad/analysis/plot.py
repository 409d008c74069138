"""Curves of several runs as a figure for a paper, or as the points of one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from triad.analysis.curves import Band, Series, fold_seeds, read_curves
from triad.analysis.leaderboard import Board
from triad.config.errors import Refusal
from triad.config.tables import to_csv

PICTURES = (".pdf", ".png", ".svg")
STYLES = ("-", "--", ":", "-.")  # of the first ten lines, the next ten and so on


class PlottedLine(NamedTuple):
    """The metric of a setting over an axis: of several seeds the mean with a band."""

    label: str
    seeds: int
    points: Series | Band


def write_plot(boards: list[Board], over: str, to: Path) -> None:
    """Draw the metric over steps, tokens or seconds, a panel for each board, or write the points.

    A line with several seeds is their mean, with one sample standard deviation to both sides. Raises Refusal
    for a suffix of `to` that is no kind of picture nor .csv, and where no run has such a curve.
    """
    if to.suffix not in (*PICTURES, ".csv"):
        raise Refusal(f"plot={to}: the name ends in one of {', '.join((*PICTURES, '.csv'))}")
    panels = {board.title: [*_find_curves(board, over)] for board in boards}
    if not any(panels.values()):
        raise Refusal(f"plot={to}: no run has logged {boards[0].metric} over {over}")
    if to.suffix == ".csv":
        to.write_text(to_csv(*_list_points(panels, boards[0].metric, over)), encoding="utf-8")
    else:
        _draw({title: curves for title, curves in panels.items() if curves}, boards[0].metric, over, to)


def _find_curves(board: Board, over: str) -> Iterator[PlottedLine]:
    for line in board.lines:
        found = [read_curves(run.directory, [board.metric]) for run in line.setting.runs]
        seeds = [each[board.metric] for each in found if over in each.get(board.metric, {})]
        if len(seeds) > 1 and over in (bands := fold_seeds(seeds)):
            yield PlottedLine(line.setting.label, len(seeds), bands[over])
        elif seeds:
            yield PlottedLine(line.setting.label, 1, seeds[0][over])


def _list_points(
    panels: dict[str, list[PlottedLine]], metric: str, over: str
) -> tuple[list[str], list[list[str]]]:
    rows = []
    for title, curves in panels.items():
        for curve in curves:
            for values in zip(*curve.points, strict=True):
                cells = [*map(repr, values), "", ""][:4]
                rows.append([title, curve.label, str(curve.seeds), *cells])
    group = ["group", "line", "seeds"]
    return [*group, over, metric, "mean - deviation", "mean + deviation"], rows


def _draw(panels: dict[str, list[PlottedLine]], metric: str, over: str, to: Path) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 3.4 * len(panels)), layout="constrained")
    for panel, (title, curves) in zip(
        figure.subplots(len(panels), squeeze=False)[:, 0], panels.items(), strict=True
    ):
        for place, curve in enumerate(curves):
            _draw_curve(panel, place, curve)
        panel.set(xlabel=over, ylabel=metric, title=title)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(fontsize="small", frameon=False)
    with mpl.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none"}):  # text stays text
        figure.savefig(to, dpi=200)


def _draw_curve(panel: Any, place: int, curve: PlottedLine) -> None:
    colour, style = f"C{place % 10}", STYLES[place // 10 % len(STYLES)]
    label = curve.label + (f" ({curve.seeds} seeds)" if curve.seeds > 1 else "")
    panel.plot(*curve.points[:2], style, color=colour, label=label, linewidth=1.4)
    if isinstance(curve.points, Band):
        panel.fill_between(curve.points.x, *curve.points[2:], color=colour, alpha=0.2, linewidth=0)
