"""Charts as SVG that needs nothing else: curves, parallel coordinates, intervals on a line."""

import math
from collections.abc import Callable, Sequence
from statistics import median, median_low
from typing import Any, NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from triad.analysis.confidence_intervals import Interval
from triad.analysis.curves import Band, Series
from triad.analysis.settings import format_cell, shorten_key

TOO_FAR = 3.0  # times the start: the window does not follow a curve that becomes as bad
LARGEST = 1e300  # of what a window shows: sums of it are still finite
LATER = 0.25  # the window shows at least what lies beyond this part of each curve
FAR = 4.0  # times the median's distance from the best: what is worse is drawn at the edge
LOGARITHMIC = 20.0  # ratio of the largest to the smallest value from which an axis is one of powers
COLUMN = 170  # between two axes of parallel coordinates
LONGEST_NAME, LONGEST_VALUE = 28, 20  # characters that have room between two axes
FINE = 10  # points are whole numbers of this part of a unit: a path of them is short
FARTHEST = 10**6  # of a point from the window


class Curve(NamedTuple):
    """One run's curve, what it is called, and the class of the page's style that its setting has."""

    label: str
    style: str
    points: Series


class Box(NamedTuple):
    """The rectangle that points are drawn in, in units of the picture."""

    left: float
    top: float
    right: float
    bottom: float


def draw_curves(
    curves: Sequence[Curve], bands: Sequence[tuple[str, Band]], x_name: str, y_name: str, maximize: bool
) -> str:
    """Curves over one axis, the first on top, and the bands of those that have several seeds, by style.

    A curve that would lie outside the window is drawn along its edge, dotted: none is missing.
    """
    box = Box(44, 22, 344, 202)
    root = _make_picture(360, 236, f"{y_name} over {x_name}")
    across = (0.0, max(curve.points.x[-1] for curve in curves) or 1.0)
    upward = choose_window([curve.points for curve in curves], maximize)
    x, y = _make_scale(*across, box.left, box.right), _make_scale(*upward, box.bottom, box.top)
    _add_text(root, 6, 12, y_name, "name")
    _add_text(root, box.right, 233, x_name, "tick end")
    for tick in choose_ticks(*upward):
        _add_line(root, box.left, y(tick), box.right, y(tick), "grid")
        _add_text(root, box.left - 5, y(tick) + 3, _format_tick(tick), "tick end")
    for tick in choose_ticks(*across):
        _add_text(root, x(tick), 216, _format_tick(tick), "tick middle")
    width, height = box.right - box.left, box.bottom - box.top
    plot = _add(root, "svg", x=box.left, y=box.top, width=width, height=height)
    plot.set("class", "plot")
    plot.set("viewBox", f"0 0 {FINE * width:g} {FINE * height:g}")
    plot.set("data-window", " ".join(f"{value:.7g}" for value in (*across, *upward)))  # for page.js
    plot.set("data-x", x_name)
    plot.set("data-y", y_name)
    fine_x = _make_scale(*across, 0, FINE * width)
    fine_y = _make_scale(*upward, FINE * height, 0)
    for style, band in reversed(bands):
        outline = [*zip(band.x, band.low, strict=True), *zip(band.x[::-1], band.high[::-1], strict=True)]
        _add_path(plot, f"band {style}", [(fine_x(a), fine_y(b)) for a, b in outline], closed=True)
    for curve in reversed(curves):
        _add_curve(plot, curve, [(fine_x(a), fine_y(b)) for a, b in zip(*curve.points, strict=True)])
    for style, band in reversed(bands):
        middle = [(fine_x(a), fine_y(b)) for a, b in zip(band.x, band.mean, strict=True)]
        _add_path(plot, f"mean {style}", middle)
    return ElementTree.tostring(root, encoding="unicode")


def _add_curve(plot: Element, curve: Curve, places: list[tuple[float, float]]) -> None:
    bottom = float(plot.get("viewBox", "").split()[-1])
    style = f"run {curve.style}"
    if len(places) == 1:
        style += " dot"
    if all(b < 0 for _, b in places) or all(b > bottom for _, b in places):
        style += " beyond"
        places = [(a, min(max(b, 0.0), bottom)) for a, b in places]
    _add_title(_add_path(plot, style, places), curve.label)


def choose_window(curves: Sequence[Series], maximize: bool) -> tuple[float, float]:
    """The range of values to show: that of the later part of each curve.

    Of a curve that becomes worse than TOO_FAR times the size of the median start only the best later value is
    in it, or none: a run that diverged leaves the others their room.
    """
    sign = -1.0 if maximize else 1.0  # what is higher is worse
    start = median_low(sign * curve.y[0] for curve in curves)
    limit = min(start + (TOO_FAR - 1) * abs(start), LARGEST)
    shown: list[float] = []
    for curve in curves:
        later = [sign * y for x, y in zip(*curve, strict=True) if x >= LATER * curve.x[-1]]
        shown += later if max(later) <= limit else [min(later)] if min(later) <= limit else []
    low, high = sorted((sign * min(shown, default=limit), sign * max(shown, default=limit)))
    margin = 0.04 * (high - low) or abs(high) * 0.01 or 1.0
    return low - margin, high + margin


def draw_parallel(
    keys: list[str], metric: str, maximize: bool, rows: list[tuple[dict[str, Any], float]]
) -> str:
    """Parallel coordinates (Inselberg 1985): a line for each setting, best first, coloured by its place."""
    width = COLUMN * (len(keys) + 1)
    box = Box(COLUMN / 2, 40, width - COLUMN / 2, 260)
    root = _make_picture(width, 280, f"{metric} and the keys that differ")
    root.set("width", str(width))
    columns = [*((shorten_key(key), [values.get(key) for values, _ in rows]) for key in keys)]
    scores = [score for _, score in rows]
    columns.append((metric, scores))
    across = _make_scale(0, len(columns) - 1, box.left, box.right)
    heights, labels = [], []
    for place, (name, values) in enumerate(columns):
        ends = choose_range(scores, maximize) if place == len(keys) else None
        at, height, marks = across(place), *_make_axis(values, box, ends)
        heights.append([height(value) for value in values])
        _add_line(root, at, box.top, at, box.bottom, "axis")
        _add_title(_add_text(root, at, 20, _cut(name, LONGEST_NAME), "name middle"), name)
        labels += [(at + 6, mark + 3, said) for mark, said in marks]
    shade = _make_scale(0, len(rows) - 1, 0, 100)
    for index in reversed(range(len(rows))):
        points = [(across(place), column[index]) for place, column in enumerate(heights)]
        drawn = _add(root, "polyline", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in points))
        drawn.set("class", "way")
        drawn.set("style", f"--worse:{shade(index):.0f}%")
        _add_title(drawn, "\n".join(f"{name} {format_cell(values[index])}" for name, values in columns))
    for x, y, said in labels:  # above the lines
        _add_title(_add_text(root, x, y, _cut(said, LONGEST_VALUE), "tick halo"), said)
    return ElementTree.tostring(root, encoding="unicode")


def _make_axis(
    values: list[Any], box: Box, ends: tuple[float, float] | None
) -> tuple[Callable[[Any], float], list[tuple[float, str]]]:
    """The height of a value on its axis, and the heights that bear a number or word.

    Numbers beyond `ends` are at the end of the axis; without them it is as long as the values take.
    """
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values) or len(set(numbers)) < 2:
        words = sorted({format_cell(value) for value in values})
        spread = _make_scale(-0.5, len(words) - 0.5, box.bottom, box.top)
        heights = {word: spread(place) for place, word in enumerate(words)}
        marks = _keep_apart([(at, word or "(none)") for word, at in heights.items()])
        return lambda value: heights[format_cell(value)], marks
    low, high = ends or (min(numbers), max(numbers))
    power = low > 0 and high / low >= LOGARITHMIC
    linear = _make_scale(*((math.log(low), math.log(high)) if power else (low, high)), box.bottom, box.top)

    def height(value: float) -> float:
        inside = min(max(value, low), high)
        return linear(math.log(inside) if power else inside)

    distinct = sorted({min(max(value, low), high) for value in numbers})
    ends_first = [*distinct[:1], *distinct[:0:-1]]
    beyond = {low: "≤ " if min(numbers) < low else "", high: "≥ " if max(numbers) > high else ""}
    said = [(height(value), f"{beyond.get(value, '')}{value:.4g}") for value in ends_first]
    return height, _keep_apart(said)


def _keep_apart(marks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """The marks that have room beside those before them."""
    kept: list[tuple[float, str]] = []
    for at, said in marks:
        if all(abs(at - other) > 11 for other, _ in kept):
            kept.append((at, said))
    return kept


def draw_intervals(scores: Sequence[tuple[Interval | None, Sequence[float]]], maximize: bool) -> list[str]:
    """For each line of a table a picture of its mean, interval and seeds, all over one range, best first.

    What lies beyond the range is a ring at its edge.
    """
    means = [score.mean for score, _ in scores if score and math.isfinite(score.mean)]
    if len(means) < 2:
        return [""] * len(scores)
    low, high = choose_range(means, maximize)
    margin = 0.15 * (high - low) or abs(high) * 0.01 or 1.0
    x = _make_scale(low - margin, high + margin, 0, 120)
    return [_draw_interval(score, seeds, x) for score, seeds in scores]


def choose_range(values: Sequence[float], maximize: bool) -> tuple[float, float]:
    """From the best value to the worst that is at most FAR times as far from it as the median is."""
    best = max(values) if maximize else min(values)
    farthest = max(
        abs(value - best) for value in values if abs(value - best) <= FAR * abs(median(values) - best)
    )
    return (best - farthest, best) if maximize else (best, best + farthest)


def _draw_interval(score: Interval | None, seeds: Sequence[float], x: Callable[[float], float]) -> str:
    if score is None or not math.isfinite(score.mean):
        return ""

    half = "" if score.half is None else f" ± {score.half:.2g}"
    root = _make_picture(120, 16, f"{format_cell(score.mean)}{half}")
    at = x(score.mean)
    if not 0 <= at <= 120:
        _add(root, "circle", cx=4 if at < 0 else 116, cy=8, r=3).set("class", "beyond")
        return ElementTree.tostring(root, encoding="unicode")
    if score.half is not None:
        _add_line(root, x(score.mean - score.half), 8, x(score.mean + score.half), 8, "axis")
    for value in seeds if len(seeds) > 1 else ():
        _add_line(root, x(value), 4, x(value), 12, "axis")
    _add(root, "circle", cx=round(at, 1), cy=8, r=3.2)
    return ElementTree.tostring(root, encoding="unicode")


def choose_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers in a range: steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def _make_scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Map low..high to start..end; a range of one value to its middle."""
    if low == high:
        return lambda _: (start + end) / 2
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _format_tick(value: float) -> str:
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):g}{unit}"
    return f"{value:g}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _make_picture(width: float, height: float, name: str) -> Element:
    root = Element("svg", {"viewBox": f"0 0 {width} {height}", "role": "img", "aria-label": name})
    root.set("xmlns", "http://www.w3.org/2000/svg")
    return root


def _add(parent: Element, kind: str, **attributes: Any) -> Element:
    return ElementTree.SubElement(parent, kind, {key: str(value) for key, value in attributes.items()})


def _add_path(
    parent: Element, style: str, places: list[tuple[float, float]], closed: bool = False
) -> Element:
    """A path through points, each said by its distance to the one before; of one point it is a dot."""
    whole = [tuple(round(min(max(at, -FARTHEST), FARTHEST)) for at in place) for place in places]
    pairs = zip(whole, whole[1:] or whole, strict=False)
    steps = " ".join(f"{after[0] - before[0]} {after[1] - before[1]}" for before, after in pairs)
    path = f"M{whole[0][0]} {whole[0][1]}l{steps}".replace(" -", "-")
    return _add(parent, "path", **{"class": style, "d": path + "z" * closed})


def _add_title(element: Element, text: str) -> None:
    _add(element, "title").text = text


def _add_line(parent: Element, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
    _add(parent, "line", x1=round(x1, 1), y1=round(y1, 1), x2=round(x2, 1), y2=round(y2, 1)).set(
        "class", kind
    )


def _add_text(parent: Element, x: float, y: float, text: str, kind: str) -> Element:
    made = _add(parent, "text", x=round(x, 1), y=round(y, 1))
    made.set("class", kind)
    made.text = text
    return made
