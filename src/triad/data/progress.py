"""How far long work has come: a bar on a terminal, elsewhere a line every ten seconds."""

import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

LINE_S, LATER_S, SHARE = (
    10.0,
    60.0,
    0.02,
)  # between two lines in a file: at first, at most; of the time so far
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
    """A bar on a terminal, in a file a line every ten seconds; call what is given with the units done.

    A total of None is not known.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import TransferSpeedColumn as SpeedColumn

    console = Console(stderr=True, markup=False, emoji=False)
    if not console.is_terminal:
        yield _print_lines(title, total, unit)
        return
    counted = (MofNCompleteColumn(), TextColumn(unit, markup=False), TimeElapsedColumn())
    columns = (DownloadColumn(), SpeedColumn()) if unit == "bytes" else counted
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(20),
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        refresh_per_second=REFRESHES_PER_S,
    ) as bar:
        task = bar.add_task(title, total=total)
        yield lambda count: bar.advance(task, count)


def track(items: Iterable[Item], title: str, total: int | None, unit: str) -> Iterator[Item]:
    """The items, with progress shown as each has been dealt with."""
    with show_progress(title, total, unit) as advance:
        for item in items:
            yield item
            advance(1)


def format_time(seconds: float) -> str:
    """Hours, minutes and seconds, as in 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _print_lines(title: str, total: int | None, unit: str) -> Advance:
    lines = Lines()
    lines.mark()  # work of less than ten seconds has none
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if lines.due():
            lines.mark()
            speed = done / (time.monotonic() - lines.since)
            size, name, digits = (1e6, "MB", ".1f") if unit == "bytes" else (1, unit, ",.0f")
            of = "" if total is None else f" of {total / size:{digits}}"
            facts = [f"{done / size:{digits}}{of} {name}", f"{speed / size:,.4g} {name} a second"]
            if total is not None and speed:
                facts.append(f"{format_time(max(total - done, 0) / speed)} left")
            print(f"{title}: {', '.join(facts)}", file=sys.stderr, flush=True)

    return advance
