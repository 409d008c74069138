"""The leaderboard as one HTML file that needs no other: table, curves, parallel coordinates, importance."""

import math
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from triad.analysis import svg_charts as chart
from triad.analysis.curves import AXES, MOST_POINTS, read_curves
from triad.analysis.importance import measure_importance
from triad.analysis.leaderboard import Board
from triad.analysis.settings import Setting, shorten_key
from triad.analysis.table import tabulate

COLOURS = 8  # settings whose curves are drawn, the best


def render_page(boards: list[Board]) -> str:
    """The page of the first leaderboard."""
    ranking, together = boards[0], boards[0].together
    header, cells, _ = tabulate(ranking)
    finite = [line for line in ranking.lines if line.score and math.isfinite(line.score.mean)]
    ways = [
        ({key: line.setting.value(key) for key in ranking.columns}, line.score.mean)
        for line in finite
        if line.score
    ]
    shares, seeds = measure_importance(together, ranking.columns, ranking.metric)
    known = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    return known.get_template("page.html").render(
        ranking=ranking,
        runs=sum(len(setting.runs) for setting in together),
        finished=sum(len(setting.figures(ranking.metric)) for setting in together),
        header=header,
        cells=cells,
        drawn=[line.setting.label for line in finite[:COLOURS]],
        curves=draw_curves(ranking.metric, [line.setting for line in finite[:COLOURS]]),
        points=MOST_POINTS,
        later=chart.LATER,
        parallel=chart.draw_parallel(ranking.columns, ranking.metric, ranking.maximize, ways)
        if ranking.columns and len(ways) > 1
        else "",
        shares=shares,
        bars=chart.draw_bars(shares) if any(share.found is not None for share in shares) else "",
        seeds=seeds,
        short=shorten_key,
    )


def draw_curves(metric: str, best: list[Setting]) -> list[str]:
    """Charts of the metric, and of the same figure in training, over steps, tokens and seconds."""
    charts = []
    for name in dict.fromkeys((metric, metric.replace("val/", "train/"))):
        found = [
            (f"{setting.label}, seed {run.seed}", colour, read_curves(run.directory, [name]).get(name, {}))
            for colour, setting in enumerate(best)
            for run in setting.runs
        ]
        for axis in AXES:
            drawn = [
                chart.Polyline(label, colour, each[axis]) for label, colour, each in found if axis in each
            ]
            if drawn:
                charts.append(chart.draw_curves(drawn, axis, name))
    return charts
