"""How far long work has come: a bar on a terminal, elsewhere a line every ten seconds."""

import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

LINE_S, LATER_S = 10.0, 60.0  # between two lines in a file: at first, and at most
SHARE = 0.02  # of the time so far is between two lines
REFRESHES_PER_S = 2  # of a terminal

Advance = Callable[[int], None]
Item = TypeVar("Item")


class Lines:
    """When a line in a file is due: at once, then every ten seconds, in long work every minute."""

    def __init__(self) -> None:
        self.since = time.monotonic()
        self.next = self.since

    def due(self, patience: float = 0.0) -> bool:
        """Whether it is time for a line, or has been for that part of the time between two lines."""
        return time.monotonic() >= self.next + patience * self._between()

    def mark(self) -> None:
        """A line is written."""
        self.next = time.monotonic() + self._between()

    def _between(self) -> float:
        return max(LINE_S, min(LATER_S, SHARE * (time.monotonic() - self.since)))


@contextmanager
def show_progress(title: str, total: int | None, unit: str = "bytes") -> Generator[Advance]:
    """A line on a terminal, in a file one every ten seconds; call what is given with the units done.

    A total of None is not known.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    work = _Work(title, total, unit)
    if console.is_terminal and not console.is_dumb_terminal:
        options: Any = {"refresh_per_second": REFRESHES_PER_S, "transient": True}
        with Live(get_renderable=lambda: work.draw(console), console=console, **options):
            yield work.advance
        return
    lines = Lines()
    lines.mark()  # work of less than ten seconds has none

    def advance(count: int) -> None:
        work.advance(count)
        if lines.due():
            lines.mark()
            print(work.describe(), file=sys.stderr, flush=True)

    yield advance


def track(items: Iterable[Item], title: str, total: int | None, unit: str) -> Iterator[Item]:
    """The items, with progress shown as each has been dealt with."""
    with show_progress(title, total, unit) as advance:
        for item in items:
            yield item
            advance(1)


def draw_bar(console: Any, before: str, share: float, behind: str) -> Any:
    """A line as wide as the console, with a bar between two texts."""
    from rich.text import Text

    done, rest = "━─" if console.encoding.startswith("utf") else "#-"
    room = max(0, console.width - len(before) - len(behind) - 2)
    filled = round(room * min(share, 1.0))
    return cut_line(Text.assemble(before, " ", (done * filled, "green"), rest * (room - filled), " ", behind))


def cut_line(text: Any) -> Any:
    """A text of rich that ends where the terminal does."""
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def format_time(seconds: float) -> str:
    """Hours, minutes and seconds, as in 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Work:
    """What is done of some work, since when, and what is left."""

    def __init__(self, title: str, total: int | None, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done, self.since = 0, time.monotonic()

    def advance(self, count: int) -> None:
        self.done += count

    def describe(self) -> str:
        """What is done, how much of it, time left and elapsed."""
        return f"{self.title}: {self._measure()}, {self._elapsed()}"

    def _measure(self) -> str:
        size, unit, digits = (1e6, "MB", ".1f") if self.unit == "bytes" else (1, self.unit, ",.0f")
        done = f"{self.done / size:{digits}}"
        if self.total is not None:
            done += f" of {self.total / size:{digits}}"
        return f"{done} {unit}{self._describe_left()}"

    def draw(self, console: Any) -> Any:
        """The same as a line with a bar, which a long title leaves room for."""
        from rich.text import Text

        if not self.total:
            return cut_line(Text(self.describe()))
        before, longest = self._measure(), console.width // 3
        title = self.title if len(self.title) <= longest else self.title[: longest - 1] + "…"
        return draw_bar(console, f"{title}: {before}", self.done / self.total, self._elapsed())

    def _elapsed(self) -> str:
        return f"{format_time(time.monotonic() - self.since)} elapsed"

    def _describe_left(self) -> str:
        if self.total is None or not self.done:
            return ""
        left_s = max(self.total - self.done, 0) * (time.monotonic() - self.since) / self.done
        return f", {format_time(left_s)} left"
