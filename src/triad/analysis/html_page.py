"""The leaderboard as one HTML file that needs no other: table, curves, parallel coordinates, importance."""

import base64
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from triad.analysis import svg_charts as chart
from triad.analysis.curves import AXES, MOST_POINTS, Band, fold_seeds, read_curves
from triad.analysis.importance import Share, measure_importance
from triad.analysis.leaderboard import Board, Line, describe_states, list_measures
from triad.analysis.settings import Outcome, Setting, format_cell, format_number, shorten_key

HERE = Path(__file__).parent
COLOURS = 8  # settings that are told apart by colour, the best; the others are grey
AXES_SHOWN = 8  # keys that parallel coordinates show


class Column(NamedTuple):
    """A column of the table, and whether its cells are numbers."""

    head: str
    cells: list[str]
    numeric: bool = False


class Panel(NamedTuple):
    """What the page says of one board."""

    board: Board
    intervals: list[str]
    columns: list[Column]
    measures: list[Column]
    best: Outcome | None
    curves: list[str]
    parallel: str
    keys: list[str]
    shares: list[Share]
    seeds: float | None


def render_page(board: Board, together: list[Setting]) -> str:
    """The page of a leaderboard; `together` are all settings, also those that `by` left out of it."""
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    script = (HERE / "page.js").read_text(encoding="utf-8")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        panels=[_make_panel(board, together)],
        title=f"{board.metric} of {sum(len(setting.runs) for setting in together)} runs",
        style_of=_style,
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=script,
        allowed=allowed,
        colours=COLOURS,
        points=MOST_POINTS,
        later=chart.LATER,
        axes=AXES_SHOWN,
        short=shorten_key,
        number=format_number,
    )


def _make_panel(board: Board, together: list[Setting]) -> Panel:
    finite = [line for line in board.lines if line.score and math.isfinite(line.score.mean)]
    shares, seeds = measure_importance(together, board.columns, board.metric)
    keys = _choose_keys(board, finite, shares)
    scores = [(line.score, [*line.setting.figures(board.metric).values()]) for line in board.lines]
    return Panel(
        board,
        chart.draw_intervals(scores, board.maximize),
        _make_columns(board),
        _make_measures(board),
        _find_best_run(board),
        draw_curves(board),
        _draw_parallel(board, finite, keys),
        keys,
        shares,
        seeds,
    )


def _make_columns(board: Board) -> list[Column]:
    """The keys that differ, how each line stands to the reference, and seeds and states if these differ."""
    settings = [line.setting for line in board.lines]
    columns = [
        Column(shorten_key(key), [format_cell(setting.value(key)) for setting in settings])
        for key in board.columns
    ]
    columns.append(Column("difference", [line.verdict for line in board.lines]))
    columns.append(Column("seeds", [str(line.score.n) if line.score else "" for line in board.lines], True))
    columns.append(Column("state", [describe_states(setting) for setting in settings]))
    return [column for column in columns if _differs(column)]


def _make_measures(board: Board) -> list[Column]:
    """Further figures, as means over the seeds, of which the lines have different ones."""
    columns = []
    for key in list_measures(board):
        figures = [[*line.setting.figures(key).values()] for line in board.lines]
        cells = [format_number(sum(values) / len(values)) if values else "" for values in figures]
        columns.append(Column(key, cells, True))
    return [column for column in columns if _differs(column)]


def _differs(column: Column) -> bool:
    return len(set(column.cells)) > 1


def _find_best_run(board: Board) -> Outcome | None:
    """The run of the first line that has the best result."""
    runs = [
        run
        for run in (board.lines[0].setting.runs if board.lines else [])
        if math.isfinite(run.result.get(board.metric, math.nan))
    ]
    choose = max if board.maximize else min
    return choose(runs, key=lambda run: run.result[board.metric]) if runs else None


def _style(place: int) -> str:
    return f"c{place}" if place < COLOURS else "other"


def draw_curves(board: Board) -> list[str]:
    """Charts of the metric, and of the same figure in training, over each axis: a curve for every run."""
    names = [*dict.fromkeys((board.metric, board.metric.replace("val/", "train/")))]
    settings = [line.setting for line in board.lines]
    read = [[read_curves(run.directory, names) for run in setting.runs] for setting in settings]
    charts = []
    for name in names:
        curves: dict[str, list[chart.Curve]] = {axis: [] for axis in AXES}
        bands: dict[str, list[tuple[str, Band]]] = {axis: [] for axis in AXES}
        for place, (setting, found) in enumerate(zip(settings, read, strict=True)):
            style = _style(place)
            logged = [(run, one[name]) for run, one in zip(setting.runs, found, strict=True) if name in one]
            folded = fold_seeds([one for _, one in logged]) if len(logged) > 1 and place < COLOURS else {}
            for axis, band in folded.items():
                bands[axis].append((style, band))
            for run, one in logged:
                for axis, points in one.items():
                    label, seed = _label_run(setting, run), " seed" if axis in folded else ""
                    curves[axis].append(chart.Curve(label, style + seed, points))
        charts += [
            chart.draw_curves(curves[axis], bands[axis], axis, name, board.maximize)
            for axis in AXES
            if curves[axis]
        ]
    return charts


def _label_run(setting: Setting, run: Outcome) -> str:
    return f"{setting.label}, seed {run.seed}" if setting.values else setting.label


def _choose_keys(board: Board, finite: Sequence[Line], shares: Sequence[Share]) -> list[str]:
    """The keys that differ among the lines with a result; of many, those that explain most of the metric."""
    keys = [
        key for key in board.columns if len({format_cell(line.setting.value(key)) for line in finite}) > 1
    ]
    ranked = [share.key for share in shares if share.key in keys] or keys
    return [key for key in keys if key in ranked[:AXES_SHOWN]]


def _draw_parallel(board: Board, finite: Sequence[Line], keys: list[str]) -> str:
    rows: list[tuple[dict[str, Any], float]] = [
        ({key: line.setting.value(key) for key in keys}, line.score.mean) for line in finite if line.score
    ]
    return chart.draw_parallel(keys, board.metric, board.maximize, rows) if keys and len(rows) > 1 else ""
