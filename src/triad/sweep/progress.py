"""Progress of a sweep: a live table on a terminal, a line for each event elsewhere."""

import sys
import time
from statistics import fmean

from rich.console import Console, Group
from rich.live import Live

from triad.config.tables import lay_out
from triad.data.progress import format_time
from triad.sweep.trials import Trial, read_values

ROWS = 20  # of the live table
EVERY_S = 0.5


class ProgressDisplay:
    """Show runs as they start and end; `done` of `total` runs have ended."""

    def __init__(self, metric: str, total: int, done: int, jobs: int) -> None:
        self.metric, self.total, self.done, self.jobs = metric, total, done, jobs
        self.spent_s: list[float] = []
        self.since: dict[str, float] = {}
        self.rows: dict[str, tuple[str, ...]] = {}
        self.console = Console(
            soft_wrap=True, highlight=False, markup=False, emoji=False
        )  # a log may say anything
        self.told = False
        self.next = 0.0
        self.live = Live(console=self.console, auto_refresh=False) if sys.stdout.isatty() else None
        if self.live:
            self.live.start()

    def show_start(self, one: Trial, again: bool) -> None:
        """A run begins, or goes on."""
        self.since[one.directory.name] = time.monotonic()
        self._show_event(one, "goes on" if again else "starts", "", 0)

    def show_end(self, one: Trial, state: str, value: float | None, spent_s: float, why: str = "") -> None:
        """A run has ended."""
        if state == "finished":
            self.spent_s.append(spent_s)
        shown = "" if value is None else f"{self.metric} {value:.5g}"
        self._show_event(one, state, shown + (f"  {why}  (log: {one.log})" if why else ""), spent_s)

    def show_waiting(self) -> None:
        """Nothing is left to start, but others are at work."""
        if not self.told:
            self.console.print("the rest is being run by other drivers; waiting for them")
        self.told = True

    def show(self, active: list[Trial]) -> None:
        """Bring the live table up to date."""
        if not self.live or time.monotonic() < self.next:
            return
        self.next = time.monotonic() + EVERY_S
        for one in active:
            values = read_values(one, self.metric)
            shown = f"{self.metric} {values[-1]:.5g}" if values else ""
            spent_s = time.monotonic() - self.since[one.directory.name]
            self.rows[one.directory.name] = ("running", shown, format_time(spent_s))
        self._draw()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self.live:
            self.live.stop()

    def _show_event(self, one: Trial, state: str, shown: str, spent_s: float) -> None:
        name = one.directory.name
        self.rows.pop(name, None)
        self.rows[name] = (state, shown, format_time(spent_s) if spent_s else "")
        if self.live:
            self._draw()
        else:
            count = f"[{self.done}/{self.total}]"
            self.console.print(
                f"{count} {name}: {'  '.join(word for word in self.rows[name] if word)}{self._format_left()}"
            )

    def _draw(self) -> None:
        assert self.live
        title = f"{self.done} of {self.total} runs{self._format_left()}"
        rows = [[name, *row] for name, row in [*self.rows.items()][-ROWS:]]
        table = lay_out(["run", "state", "value", "time"], rows, self.console.width)
        self.live.update(Group(title, table), refresh=True)

    def _format_left(self) -> str:
        """Time left, from the mean of the runs that finished."""
        left = self.total - self.done
        if not self.spent_s or left <= 0:
            return ""
        return f"  ({format_time(fmean(self.spent_s) * left / min(self.jobs, left))} left)"
