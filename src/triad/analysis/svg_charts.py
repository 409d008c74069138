"""Charts as SVG that needs nothing else: curves, parallel coordinates, bars. Hovering shows the values."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from triad.analysis.curves import Series
from triad.analysis.importance import Share
from triad.analysis.settings import format_cell, shorten_key

# blue, purple, vermilion: told apart by the colour-blind (after Okabe and Ito 2008), on white and on black
FROM_BEST = ((0, 114, 178), (168, 81, 138), (213, 94, 0))
LATER = 0.25  # the window shows what lies beyond this part of the longest curve
LOGARITHMIC = 20.0  # ratio of the largest to the smallest value from which an axis is one of powers


class Polyline(NamedTuple):
    """One run's curve: what it is called, and which colour (a number) its setting has."""

    label: str
    colour: int
    points: Series


class Box(NamedTuple):
    """The rectangle that points are drawn in, in units of the picture."""

    left: float
    top: float
    right: float
    bottom: float


def draw_curves(found: list[Polyline], x_name: str, y_name: str) -> str:
    """Curves over one axis. What lies outside the window of all but the first quarter is cut off."""
    box = Box(52, 22, 350, 200)
    root = _make_picture(360, 236, f"{y_name} over {x_name}")
    end = max(max(curve.points.x) for curve in found)
    points = [point for curve in found for point in zip(curve.points.x, curve.points.y, strict=True)]
    shown = [y for x, y in points if x >= LATER * end]
    low, high = min(shown), max(shown)
    margin = 0.04 * (high - low) or abs(high) * 0.01 or 1.0
    x, y = (
        _make_scale(0, end or 1, box.left, box.right),
        _make_scale(low - margin, high + margin, box.bottom, box.top),
    )
    _add_text(root, box.left, 13, y_name, "name")
    _add_text(root, box.right, 233, x_name, "tick end")
    for tick in choose_ticks(low - margin, high + margin):
        _add_line(root, box.left, y(tick), box.right, y(tick), "grid")
        _add_text(root, box.left - 5, y(tick) + 3, _format_tick(tick), "tick end")
    for tick in choose_ticks(0, end or 1):
        _add_text(root, x(tick), 216, _format_tick(tick), "tick middle")
    inside = _add(root, "svg", x=box.left, y=box.top, width=box.right - box.left, height=box.bottom - box.top)
    inside.set("viewBox", f"{box.left} {box.top} {box.right - box.left} {box.bottom - box.top}")
    for curve in reversed(found):  # the best lies on top
        _draw_curve(inside, curve, x, y, x_name, y_name)
    return ElementTree.tostring(root, encoding="unicode")


def _draw_curve(root: Element, curve: Polyline, x: Callable, y: Callable, x_name: str, y_name: str) -> None:
    group = _add(root, "g", **{"class": f"curve c{curve.colour}"})
    places = [(round(x(a), 1), round(y(b), 1)) for a, b in zip(*curve.points, strict=True)]
    line = _add(group, "polyline", points=" ".join(f"{a},{b}" for a, b in places))
    _add_title(line, curve.label)
    for (a, b), at, value in zip(places, *curve.points, strict=True):
        _add_title(
            _add(group, "circle", cx=a, cy=b, r=4), f"{curve.label}\n{x_name} {at:.6g}: {y_name} {value:.5g}"
        )


def draw_parallel(keys: list[str], metric: str, maximize: bool, rows: list[tuple[dict, float]]) -> str:
    """Parallel coordinates (Inselberg 1985): a line for each setting, best first, coloured by its metric."""
    width = max(420, 170 * (len(keys) + 1))
    box = Box(70, 40, width - 90, 260)
    root = _make_picture(width, 280, f"{metric} and the keys that differ")
    columns = [*((shorten_key(key), [values.get(key) for values, _ in rows]) for key in keys)]
    columns.append((metric, [value for _, value in rows]))
    across = _make_scale(0, len(columns) - 1, box.left, box.right)
    heights, labels = [], []
    for place, (name, values) in enumerate(columns):
        at, height, marks = across(place), *_make_axis(values, box)
        heights.append([height(value) for value in values])
        _add_line(root, at, box.top, at, box.bottom, "axis")
        _add_text(root, at, 20, name, "name middle")
        labels += [(at + 6, mark + 3, said) for mark, said in marks]
    scores = [score for _, score in rows]
    best, worst = (max(scores), min(scores)) if maximize else (min(scores), max(scores))
    colours = _make_scale(best, worst, 0, 1)
    for index in reversed(range(len(rows))):
        points = [(across(place), column[index]) for place, column in enumerate(heights)]
        drawn = _add(root, "polyline", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in points))
        drawn.set("class", "way")
        drawn.set("style", f"stroke:{blend_colour(colours(scores[index]))}")
        _add_title(drawn, "\n".join(f"{name} {format_cell(values[index])}" for name, values in columns))
    for label in labels:  # above the lines
        _add_text(root, *label, "tick halo")
    return ElementTree.tostring(root, encoding="unicode")


def _make_axis(values: list[Any], box: Box) -> tuple[Callable[[Any], float], list[tuple[float, str]]]:
    """The height of a value on its axis, and the heights that bear a number or word."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values) or len(set(numbers)) < 2:
        words = sorted({format_cell(value) for value in values})
        spread = _make_scale(-0.5, len(words) - 0.5, box.bottom, box.top)
        heights = {word: spread(place) for place, word in enumerate(words)}
        marks = [(at, word or "(none)") for word, at in heights.items()]
        return lambda value: heights[format_cell(value)], marks
    low, high = min(numbers), max(numbers)
    power = low > 0 and high / low >= LOGARITHMIC
    linear = _make_scale(*((math.log(low), math.log(high)) if power else (low, high)), box.bottom, box.top)

    def height(value: float) -> float:
        return linear(math.log(value) if power else value)

    distinct = sorted(set(numbers))
    marked: list[tuple[float, str]] = []
    for value in [*distinct[:1], *distinct[:0:-1]]:  # both ends, then what has room
        if all(abs(height(value) - at) > 11 for at, _ in marked):
            marked.append((height(value), f"{value:.4g}"))
    return height, marked


def draw_bars(shares: list[Share]) -> str:
    """The share of variance of each key: full bars beyond chance, pale ones as found."""
    told = [share for share in shares if share.found is not None and share.unbiased is not None]
    root = _make_picture(560, 26 * len(told) + 24, "share of the variance")
    x = _make_scale(0, 1, 190, 540)
    for tick in (0, 0.25, 0.5, 0.75, 1):
        _add_line(root, x(tick), 4, x(tick), 26 * len(told) + 6, "grid")
        _add_text(root, x(tick), 26 * len(told) + 20, f"{tick:.0%}", "tick middle")
    for place, share in enumerate(told):
        top = 26 * place + 8
        _add_text(root, 182, top + 13, shorten_key(share.key), "name end")
        for part, kind in ((share.found, "pale"), (share.unbiased, "full")):
            bar = _add(root, "rect", x=190, y=top, width=f"{x(part or 0) - 190:.1f}", height=18)
            bar.set("class", kind)
            found, unbiased = f"{share.found:.3g} found", f"{share.unbiased:.3g} beyond chance"
            _add_title(bar, f"{shorten_key(share.key)}: {found}, {unbiased}")
    return ElementTree.tostring(root, encoding="unicode")


def choose_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers in a range: steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def blend_colour(share: float) -> str:
    """A colour between the best's (0) and the worst's (1)."""
    start = min(int(2 * share), 1)
    pairs = zip(*FROM_BEST[start : start + 2], strict=True)
    parts = (round(a + (2 * share - start) * (b - a)) for a, b in pairs)
    return "#" + "".join(f"{part:02x}" for part in parts)


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


def _make_picture(width: float, height: float, name: str) -> Element:
    root = Element("svg", {"viewBox": f"0 0 {width} {height}", "role": "img", "aria-label": name})
    root.set("xmlns", "http://www.w3.org/2000/svg")
    return root


def _add(parent: Element, kind: str, **attributes: Any) -> Element:
    return ElementTree.SubElement(parent, kind, {key: str(value) for key, value in attributes.items()})


def _add_title(element: Element, text: str) -> None:
    _add(element, "title").text = text


def _add_line(parent: Element, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
    _add(parent, "line", x1=round(x1, 1), y1=round(y1, 1), x2=round(x2, 1), y2=round(y2, 1)).set(
        "class", kind
    )


def _add_text(parent: Element, x: float, y: float, text: str, kind: str) -> None:
    element = _add(parent, "text", x=round(x, 1), y=round(y, 1))
    element.set("class", kind)
    element.text = text
