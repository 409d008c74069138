"""How far a pass over a text has come: bytes, bytes a second, time left."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

LINE_S = 10.0  # between two lines in a file

Advance = Callable[[int], None]


@contextmanager
def show_progress(title: str, total_bytes: int) -> Generator[Advance]:
    """A bar on a terminal, in a file a line every ten seconds; call what is given with the bytes done."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.progress import TransferSpeedColumn as SpeedColumn

    console = Console(stderr=True, markup=False, emoji=False)
    if not console.is_terminal:
        yield _print_lines(title, total_bytes)
        return
    columns = (BarColumn(20), DownloadColumn(), SpeedColumn(), TimeRemainingColumn())
    with Progress(
        TextColumn("{task.description}", markup=False), *columns, console=console, transient=True
    ) as bar:
        task = bar.add_task(title, total=total_bytes)
        yield lambda count: bar.advance(task, count)


def _print_lines(title: str, total_bytes: int) -> Advance:
    since = said = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, said
        done += count
        if (now := time.monotonic()) - said > LINE_S:
            said, speed = now, done / (now - since)
            left = max(total_bytes - done, 0) / speed if speed else 0
            line = (
                f"{done / 1e6:.1f} of {total_bytes / 1e6:.1f} MB, {speed / 1e6:.1f} MB/s, {left:.0f} s left"
            )
            print(f"{title}: {line}", file=sys.stderr, flush=True)

    return advance
