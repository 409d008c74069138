"""How far long work has come, on a clock of the tests' own."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from triad.data import progress
from triad.data.progress import _Work, format_time, track


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(s=50.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now.s))
    return now


@pytest.mark.parametrize("columns", [80, 100, 160])
@pytest.mark.parametrize("title", ["predictions", "rows of a source whose name is longer than a line " * 4])
def test_amount_time_left_and_elapsed_fit_a_terminal_whatever_the_title_is(
    clock: SimpleNamespace, title: str, columns: int
) -> None:
    console = Console(file=io.StringIO(), width=columns, force_terminal=True, color_system=None)
    work = _Work(title, 40_000, "rows")
    clock.s += 30
    work.advance(10_000)
    console.print(work.draw(console))
    (line,) = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(line) == columns
    assert ": 10,000 of 40,000 rows, 1:30 left ━" in line
    assert line.endswith("─ 0:30 elapsed")
    bar = line.rpartition("left ")[2].partition(" ")[0]
    assert bar.count("━") == pytest.approx(len(bar) / 4, abs=1)


def test_a_file_has_a_line_every_ten_seconds_and_none_of_short_work(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in track(range(9), "short", 9, "rows"):
        clock.s += 1
    assert capsys.readouterr().err == ""
    for _ in track(range(40), "reading", None, "texts"):
        clock.s += 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"reading: {n} texts, 0:{n} elapsed" for n in (10, 20, 30, 40)]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0:00"), (59.6, "1:00"), (3600, "1:00:00"), (90061, "25:01:01")]
)
def test_times_are_read_as_a_clock_is(seconds: float, shown: str) -> None:
    assert format_time(seconds) == shown
