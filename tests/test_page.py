"""The page of a comparison: what is in the file, and what a browser shows at three widths, light and dark."""

import math
import re
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from xml.etree import ElementTree

import pytest

from tests.browser import Browser, find_chromium
from tests.test_compare import write
from triad.analysis.curves import MOST_POINTS, Series, fold_seeds, read_curves
from triad.analysis.html_page import COLOURS, render_page
from triad.analysis.leaderboard import Board, rank_runs
from triad.analysis.settings import load_outcome
from triad.analysis.svg_charts import choose_range, choose_window
from triad.analysis.table import tabulate

WIDTHS = (500, 1280, 1900)
SCHEMES = ("light", "dark")
HOSTILE = '"><img src=x onerror="window.hacked=1"></script><script>window.hacked=2</script>\'&amp;'


def rank(root: Path) -> list[Board]:
    """The boards of all runs in a folder."""
    return rank_runs([load_outcome(path) for path in sorted(root.iterdir())], "val/loss")


def render(root: Path) -> str:
    return render_page(rank(root))


def log_curve(losses: list[float], every: int = 1) -> list[dict[str, float]]:
    """What a run logs of these losses, one a step, validating every so many steps."""
    return [
        {"step": step, "train/loss": loss, "train/tokens": 64 * step, "perf/train_s": 0.5 * step}
        | ({"val/loss": loss} if step % every == 0 else {})
        for step, loss in enumerate(losses, 1)
    ]


def fall(to: float, steps: int = 40) -> list[float]:
    """Losses from 9 down."""
    return [to + (9 - to) * math.exp(-step / 6) for step in range(steps)]


CURVES = {  # of runs that the page must not lose
    "usual": fall(3.0),
    "long": fall(3.2, 400),
    "diverged": [*fall(4.0, 20), *(10.0**power for power in range(2, 9))],
    "far": [5e7 + step for step in range(40)],
    "best by far": fall(0.01),
    "one point": [3.5],
    "no number": [*fall(3.0, 20), math.nan, math.inf],
}


def write_curves(root: Path) -> None:
    for name, losses in CURVES.items():
        result = {"val/loss": losses[-1]}
        write(
            root / name.replace(" ", "-"), {"optimizer.lr": name, "seed": 0}, result, curve=log_curve(losses)
        )


def write_many_keys(root: Path) -> None:
    """Twelve keys that differ, one that does not, two seeds, and a run that failed."""
    for place, seed in product(range(12), range(2)):
        config = {f"model.some_long_part.argument_{key}": place % (key + 2) for key in range(12)}
        name = f"argument-{place}-of-a-run-with-a-long-name-{seed}"
        losses = fall(3 + place / 9 + seed / 99)
        config |= {"context": 512, "seed": seed}
        write(root / name, config, {"val/loss": losses[-1]}, curve=log_curve(losses, 10))
    config |= {"seed": 7, "model.some_long_part.argument_0": 99}
    write(root / "failed", config, None, curve=log_curve([9.0, 8.0], 10))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip(
            "Chromium is not installed (Debian's package chromium): what a page looks like is not measured"
        )
    browser = Browser(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Path], None]], Path]:
    """The file of the page of some runs, which are written once."""
    pages: dict[Callable, Path] = {}

    def make(write_runs: Callable[[Path], None]) -> Path:
        if write_runs not in pages:
            root = tmp_path_factory.mktemp("runs")
            write_runs(root)
            pages[write_runs] = tmp_path_factory.mktemp("page") / "board.html"
            pages[write_runs].write_text(render(root), encoding="utf-8")
        return pages[write_runs]

    return make


def parse(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(re.sub("<!doctype html>|<meta .*>", "", text))


def find(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """The elements that have a class."""
    return [element for element in root.iter() if name in (element.get("class") or "").split()]


@pytest.mark.parametrize(("width", "scheme"), [*product(WIDTHS, SCHEMES)])
def test_the_metric_is_on_the_first_screen_and_nothing_lies_beside_it(browser, page, width, scheme) -> None:
    browser.open(page(write_many_keys), width, scheme)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    shown = browser.evaluate(
        "[...document.querySelectorAll('.board .value')].slice(0, 8).map(cell => {"
        " const box = cell.getBoundingClientRect();"
        " return [cell.innerText, box.left, box.right, box.bottom]; })"
    )
    assert len(shown) == 8
    for text, left, right, bottom in shown:
        assert re.match(r"\d\.\d+ ± \d", text)
        assert 0 <= left < right <= width
        assert bottom <= 800


CONTRAST = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const luminance = color => {
    canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(v => v / 255)
      .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
      .reduce((sum, v, at) => sum + v * [.2126, .7152, .0722][at], 0);
  };
  const paper = luminance(getComputedStyle(document.body).backgroundColor);
  const measure = (selector, property) => [...document.querySelectorAll(selector)].map(one => {
    const ink = luminance(getComputedStyle(one)[property]);
    return (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05);
  });
  const written = measure('h1, h3, p, b, td:not(.interval), th, code, button, summary, a', 'color');
  return {
    paper,
    text: Math.min(...written, ...measure('text', 'fill')),
    lines: Math.min(...measure('.legend .swatch:not(.other)', 'color'), ...measure('.way', 'stroke'))
  };
})()"""


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_and_curves_stand_out_from_the_paper(browser, page, scheme) -> None:
    browser.open(page(write_many_keys), 1280, scheme)
    measured = browser.evaluate(CONTRAST)  # bounds of https://www.w3.org/TR/WCAG22/, 1.4.3 and 1.4.11
    assert (measured["paper"] < 0.1) == (scheme == "dark")
    assert measured["text"] >= 4.5
    assert measured["lines"] >= 3


IN_SIGHT = """[...document.querySelectorAll('.plot')].map(plot => {
  const { width, height } = plot.viewBox.baseVal;
  return [...plot.querySelectorAll('.run')].filter(path => readPoints(path).some(
    ([x, y]) => x >= 0 && x <= width && y >= 0 && y <= height && path.isPointInStroke(new DOMPoint(x, y))
  )).map(path => path.querySelector('title').textContent);
})"""


def test_each_panel_shows_a_curve_of_every_run(browser, page) -> None:
    browser.open(page(write_curves), 1280)
    panels = browser.evaluate(IN_SIGHT)
    assert len(panels) == 6
    for labels in panels:
        assert sorted(labels) == sorted(f"optimizer.lr={name}, seed 0" for name in CURVES)
    drawn = browser.evaluate(
        "[...document.querySelectorAll('.plot .run')].every(path => getComputedStyle(path).stroke != 'none')"
    )
    assert drawn


def test_a_path_is_copied_whole(browser, page) -> None:
    browser.open(page(write_many_keys), 1280)
    browser.ask("Page.bringToFront")
    whole = browser.evaluate("[...document.querySelectorAll('td code')].map(code => code.textContent)")
    assert len(whole) == 25
    assert all(Path(path).is_dir() for path in whole)
    assert browser.evaluate(
        "[...document.querySelectorAll('code')].every(code => getComputedStyle(code).userSelect == 'all')"
    )
    click = "document.querySelector('td button').click(), getSelection().toString()"
    assert browser.evaluate(click) == whole[0]
    browser.evaluate("new Promise(done => setTimeout(done, 0))")
    assert browser.evaluate("document.querySelector('td button').textContent") == "copied"


def test_the_pointer_tells_the_nearest_point(browser, page) -> None:
    browser.open(page(write_curves), 1280)
    x, y = browser.evaluate(
        "(() => { const box = document.querySelector('.plot').getBoundingClientRect();"
        " scrollTo(0, box.top); const now = document.querySelector('.plot').getBoundingClientRect();"
        " return [now.right - 1, now.bottom - 10]; })()"
    )
    browser.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    label, point = browser.evaluate("document.getElementById('tip').innerText").split("\n")
    assert label in {f"optimizer.lr={name}, seed 0" for name in CURVES}
    told = re.fullmatch(r"steps (\S+): val/loss (\S+)", point)
    losses = CURVES[label.removeprefix("optimizer.lr=").removesuffix(", seed 0")]
    assert told
    nearest = losses[round(float(told[1])) - 1]
    assert float(told[2]) == pytest.approx(nearest, abs=0.02)


def test_hostile_names_are_text(browser, tmp_path: Path) -> None:
    for place, name in enumerate((HOSTILE, "harmless")):
        config = {"data": name, f"model.{HOSTILE}": place, "seed": 0}
        directory = HOSTILE.replace("/", "") + str(place)
        write(tmp_path / "runs" / directory, config, {"val/loss": 3.0 + place}, curve=log_curve(fall(3.0)))
    file = tmp_path / "board.html"
    file.write_text(render(tmp_path / "runs"), encoding="utf-8")
    browser.open(file, 1280)
    assert browser.evaluate("[window.hacked ?? null, document.images.length, document.scripts.length]") == [
        None,
        0,
        1,
    ]
    assert HOSTILE in browser.evaluate("document.querySelector('table').innerText")
    assert HOSTILE in browser.evaluate("document.querySelector('.run title').textContent")
    injected = (
        "(() => { const made = document.createElement('script'); made.textContent = 'window.hacked = 3';"
    )
    assert (
        browser.evaluate(f"{injected} document.body.append(made); return window.hacked ?? null; }})()")
        is None
    )


def test_the_page_needs_nothing_else_and_has_what_the_terminal_shows(tmp_path: Path) -> None:
    write_many_keys(tmp_path)
    board = rank(tmp_path)[0]
    text = render_page([board])
    outside = text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|src=|@import|url\(", outside)
    header, rows, same = tabulate(board)
    table = find(parse(text), "board")[0]
    heads = ["".join(head.itertext()) for head in table.iter("th")]
    assert heads[1].startswith("val/loss")
    assert heads == [
        "#",
        heads[1],
        "",
        *(head for head in header if head not in ("#", heads[1], "run")),
        "run",
    ]
    for row, shown in zip(rows, list(table.iter("tr"))[1:], strict=True):
        cells = ["".join(cell.itertext()) for cell in shown.iter("td")]
        assert set(row[:-1]) <= set(cells)
        assert cells[-1].startswith(row[-1].partition("  (")[0])
    assert all(words in text for words in same)
    assert "context" not in "".join(table.itertext())  # it is the same in all runs


def test_seeds_have_a_band_in_each_panel(page) -> None:
    root = parse(page(write_many_keys).read_text(encoding="utf-8"))
    for plot in find(root, "plot"):
        assert len(find(plot, "band")) == len(find(plot, "mean")) == COLOURS
        assert len(find(plot, "run")) == (24 if plot.get("data-y") == "val/loss" else 25)


def test_parallel_coordinates_have_eight_keys_that_vary(tmp_path: Path, page) -> None:
    root = parse(page(write_many_keys).read_text(encoding="utf-8"))
    picture = next(p for p in root.iter() if p.get("aria-label") == "val/loss and the keys that differ")
    assert len(find(picture, "way")) == 12
    names = ["".join(name.itertext()) for name in find(picture, "name")]
    assert len(names) == 8 + 1
    assert len(find(picture, "axis")) == 8 + 1
    for place, value in enumerate((1, 1, 2)):  # only a run without a result has another context
        config = {"context": value, "batch.size": place, "seed": 0}
        write(tmp_path / str(place), config, {"val/loss": place} if value == 1 else None)
    root = parse(render(tmp_path))
    picture = next(p for p in root.iter() if p.get("aria-label") == "val/loss and the keys that differ")
    assert [name.text for name in find(picture, "name")] == ["batch.size", "val/loss"]


@pytest.mark.slow
def test_a_hundred_runs_of_ten_thousand_steps_are_a_small_page(tmp_path: Path) -> None:
    lines = [f"{s},{3 + 9 / s + s % 7 / 50:.15g},{s * 512},{s * 0.0123:.15g}," for s in range(1, 10_001)]
    lines[99::100] = [line + line.split(",")[1] for line in lines[99::100]]
    logged = tmp_path / "metrics.csv"
    logged.write_text("\n".join(["step,train/loss,train/tokens,perf/train_s,val/loss", *lines, ""]))
    for place in range(100):
        config = {"optimizer.lr": place // 4, "seed": place % 4}
        run = write(tmp_path / "runs" / f"optimizer-lr-{place}", config, {"val/loss": 3 + place % 9})
        (run / "metrics.csv").unlink()
        (run / "metrics.csv").hardlink_to(logged)
    text = render(tmp_path / "runs")
    assert len(find(parse(text), "run")) == 6 * 100
    assert len(text.encode()) <= 2e6


def test_curves_know_tokens_between_reports_and_average_neighbours(tmp_path: Path) -> None:
    rows = [{"step": step, "train/loss": 1.0 + step % 2} for step in range(1, 1001)]
    rows[999] |= {"train/tokens": 64000, "perf/train_s": 10.0}
    found = read_curves(write(tmp_path / "a", {}, None, curve=rows), ["train/loss", "val/loss"])
    assert set(found) == {"train/loss"}
    assert set(found["train/loss"]) == {"steps", "tokens", "seconds"}
    assert len(found["train/loss"]["steps"].x) == MOST_POINTS
    assert found["train/loss"]["steps"].y == [1.5] * MOST_POINTS
    assert found["train/loss"]["tokens"].x[0] == pytest.approx(64 * 5.5)
    assert found["train/loss"]["seconds"].x[-1] == pytest.approx(10 * 0.9955)


def test_a_band_is_the_mean_and_the_deviation_at_equal_steps() -> None:
    seeds = [
        {
            "steps": Series([1.0, 2.0, 3.0], [5.0, 4.0, 3.0]),
            "seconds": Series([10.0, 20.0, 30.0], [5.0, 4.0, 3.0]),
        },
        {"steps": Series([1.0, 3.0], [6.0, 2.0]), "seconds": Series([1.0, 3.0], [6.0, 2.0])},
        {"steps": Series([1.0, 2.0], [7.0, 1.0]), "seconds": Series([4.0, 5.0], [7.0, 1.0])},
    ]
    bands = fold_seeds(seeds)
    assert bands["steps"].x == [1.0, 2.0]
    assert bands["seconds"].x == [5.0, pytest.approx((20 + 2 + 5) / 3)]
    for at, values in enumerate(((5.0, 6.0, 7.0), (4.0, 4.0, 1.0))):
        assert bands["steps"].mean[at] == pytest.approx(mean(values))
        assert bands["steps"].high[at] == pytest.approx(mean(values) + stdev(values))
        assert bands["steps"].low[at] == pytest.approx(mean(values) - stdev(values))
    assert fold_seeds([seeds[0], {"steps": Series([9.0], [1.0])}]) == {}


def test_the_window_is_that_of_the_runs_that_learn() -> None:
    steps = [*map(float, range(1, 41))]
    good = Series(steps, fall(3.0))
    bad = Series(steps, [*fall(4.0, 20), *([1e9] * 20)])
    low, high = choose_window([good, bad], maximize=False)
    assert 2.5 < low < 3.1
    assert 4 < high < 6
    upside_down = [Series(one.x, [-y for y in one.y]) for one in (good, bad)]
    assert choose_window(upside_down, maximize=True) == pytest.approx((-high, -low))
    huge = Series(steps, [1.7e308] * 40)
    assert choose_window([good, huge], maximize=False)[1] < 10
    assert all(map(math.isfinite, choose_window([huge], maximize=False)))
    overfitted = Series(steps, [5 - step / 20 if step < 20 else 2 + step / 5 for step in range(40)])
    assert choose_window([overfitted], maximize=False)[1] > 9  # worse than the start, and shown whole


def test_the_range_of_results_leaves_out_what_is_far_worse_than_the_median() -> None:
    assert choose_range([3.0, 3.1, 3.2, 1e9], maximize=False) == (3.0, pytest.approx(3.2))
    assert choose_range([0.9, 0.8, 0.7, -1e9], maximize=True) == (pytest.approx(0.7), 0.9)
    assert choose_range([3.0, 5.0], maximize=False) == (3.0, 5.0)
