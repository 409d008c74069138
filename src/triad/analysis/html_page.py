"""The leaderboards as one HTML file that needs no other: tables, curves, parallel coordinates, importance."""

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
from triad.analysis.leaderboard import Board, Line, find_best_run
from triad.analysis.settings import Outcome, Setting, format_cell, shorten_key
from triad.analysis.table import head_score, tabulate
from triad.config.tables import NUMBER

HERE = Path(__file__).parent
COLOURS = 8  # settings that are told apart by colour, the best; the others are grey
MOST_KEYS = 8  # that parallel coordinates show


class Column(NamedTuple):
    """A column of a table, and whether its cells are numbers."""

    head: str
    cells: list[str]
    numeric: bool


class Section(NamedTuple):
    """What the page shows of one board."""

    board: Board
    columns: list[Column]  # the metric first, without places and runs
    same: list[str]
    intervals: list[str]
    runs: list[list[Outcome]]  # of each line, the best first
    best: Line | None
    curves: list[str]
    parallel: str
    keys: list[str]
    shares: list[Share]
    seeds: float | None


def render_page(boards: Sequence[Board], columns: Sequence[str] = ()) -> str:
    """The page of some leaderboards, in their order, with these further figures or keys as columns."""
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    script = (HERE / "page.js").read_text(encoding="utf-8")
    runs = sum(len(setting.runs) for board in boards for setting in board.together)
    return environment.get_template("page.html").render(
        sections=[_make_section(board, columns) for board in boards],
        title=f"{boards[0].metric if boards else 'no result'} of {runs} run{'s' * (runs != 1)}",
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=script,
        allowed=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        choose_style=_choose_style,
        shorten_key=shorten_key,
        colours=COLOURS,
        most_points=MOST_POINTS,
        most_keys=MOST_KEYS,
        later=chart.LATER,
    )


def _make_section(board: Board, columns: Sequence[str]) -> Section:
    finite = [line for line in board.lines if line.score and math.isfinite(line.score.mean)]
    scores = [(line.score, [*line.setting.figures(board.metric).values()]) for line in board.lines]
    shares, seeds = measure_importance(board.together, board.columns, board.metric)
    keys = _choose_keys(board, finite, shares)
    shown, same = _make_columns(board, columns)
    return Section(
        board,
        shown,
        same,
        chart.draw_intervals(scores, board.maximize),
        [_list_runs(line.setting, board) for line in board.lines],
        finite[0] if finite else None,
        draw_curves(board),
        _draw_parallel(board, finite, keys),
        keys,
        shares,
        seeds,
    )


def _make_columns(board: Board, columns: Sequence[str]) -> tuple[list[Column], list[str]]:
    """The columns that the terminal shows, the metric first; and what is the same in all lines."""
    header, rows, same = tabulate(board, columns)
    cells = {head: [row[at] for row in rows] for at, head in enumerate(header)}
    heads = [head_score(board), *(head for head in header if head not in ("#", head_score(board), "run"))]
    return [
        Column(head, cells[head], all(NUMBER.fullmatch(cell) for cell in cells[head])) for head in heads
    ], same


def _list_runs(setting: Setting, board: Board) -> list[Outcome]:
    best = find_best_run(setting, board.metric, board.maximize)
    return [best, *(run for run in setting.runs if run is not best)]


def _choose_style(place: int) -> str:
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
            style = _choose_style(place)
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
    return f"{setting.label}, seed {run.seed}" if setting.values else run.directory.name


def _choose_keys(board: Board, finite: Sequence[Line], shares: Sequence[Share]) -> list[str]:
    """The keys that differ among the lines with a result; of many, those that explain most of the metric."""
    keys = [
        key for key in board.columns if len({format_cell(line.setting.value(key)) for line in finite}) > 1
    ]
    ranked = [share.key for share in shares if share.key in keys] or keys
    return [key for key in keys if key in ranked[:MOST_KEYS]]


def _draw_parallel(board: Board, finite: Sequence[Line], keys: list[str]) -> str:
    rows: list[tuple[dict[str, Any], float]] = [
        ({key: line.setting.value(key) for key in keys}, line.score.mean) for line in finite if line.score
    ]
    return chart.draw_parallel(keys, board.metric, board.maximize, rows) if keys and len(rows) > 1 else ""
