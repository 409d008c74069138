"""The driver: claims trials of a sweep and runs up to `jobs` at a time, until all points have ended.

All state is on disk. When a driver is killed, its trials end with it, and its claims are released, as they
are file locks of the operating system: the next driver, or another one at work on the sweep, goes on at once.
"""

import math
import shutil
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from statistics import fmean
from typing import Any, NamedTuple

from triad.config.errors import Refusal
from triad.config.messages import DISK, DIVERGED
from triad.launch import trial_process as process
from triad.runs.signals import Signals
from triad.storage.locks import Lock
from triad.sweep.progress import ProgressDisplay
from triad.sweep.study import Point, Study
from triad.sweep.trials import (
    SweepSetup,
    Trial,
    claim,
    count_logged_bytes,
    list_trials,
    make_command,
    read_progress,
    read_value,
    read_values,
    refuse_unlogged,
)

PATIENCE = 3  # times that a run is started again after it was killed without having come further
FULL_BYTES = 1 << 20
LOOK_S = 0.1  # between looks at our own processes
LOOK_ELSEWHERE_S = 2.0  # between looks at other drivers' work


class Active(NamedTuple):
    """A running trial: its slot, its process, its claim, and its progress when it started."""

    slot: int
    trial: Trial
    process: subprocess.Popen
    claim: Lock
    began: Any
    since_s: float


def count_done(setup: SweepSetup, points: list[Point]) -> int:
    """The number of runs that are finished, or whose point has ended."""
    return sum(
        point.ended or one.run.result() is not None
        for point in points
        for one in list_trials(setup, point.number, point.words)
        if point.host or point.ended
    )


def refuse_full_disk(setup: SweepSetup) -> Refusal:
    """The sentence for a full disk."""
    return Refusal(
        f"the disk of {setup.directory} is full; free some space and start the same command again:"
        " what is finished stays, what was running goes on from its last checkpoint"
    )


class Driver:
    """Work on a sweep until nothing is left to do, a signal comes, or something is wrong with all of it."""

    def __init__(
        self, setup: SweepSetup, study: Study, jobs: int, adopt: bool, display: ProgressDisplay
    ) -> None:
        self.setup, self.study, self.jobs, self.adopt, self.display = setup, study, jobs, adopt, display
        self.metric, self.rungs = setup.sweep.metric, setup.sweep.rungs
        self.active: list[Active] = []
        self.kills: Counter[str] = Counter()
        self.judged: dict[str, int] = {}  # bytes of metrics.csv that were judged
        self.signals = Signals()
        self.environment = {}
        if entity := setup.sweep.labels.get("entity"):
            self.environment["WANDB_ENTITY"] = entity

    def run(self) -> int:
        """The signal that ended the work, or 0. Raises Refusal after ending what was running."""
        previous = self.signals.catch()
        try:
            while not self.signals.first and self._start_free_slots():
                self._watch()
            return self.signals.first
        finally:
            self._end(self.active)
            for one in self.active:
                one.claim.release()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _end(self, active: list[Active]) -> None:
        process.end_processes(
            [one.process for one in active], [one.trial.run for one in active], self.signals
        )

    def _start_free_slots(self) -> bool:
        """Start runs in the free places; whether there is anything to wait for."""
        free = [slot for slot in range(self.jobs) if slot not in {one.slot for one in self.active}]
        elsewhere = False
        for slot in free:
            found, elsewhere = self._claim_next()
            if found is None:
                break
            self._start(slot, *found)
        if not self.active and elsewhere:
            self.display.show_waiting()
            self._sleep(LOOK_ELSEWHERE_S)
        return bool(self.active) or elsewhere

    def _claim_next(self) -> tuple[tuple[Trial, Lock] | None, bool]:
        """A run to start, claimed; and whether others are at work on what is left."""
        elsewhere = False
        for point in self.study.points():
            if point.ended:
                continue
            if not point.host:
                drawn = self.study.begin(point.number)
                if drawn is None:
                    elsewhere = True
                    continue
                point = drawn
            found, busy = self._claim_run_of(point)
            if found:
                return found, False
            elsewhere |= busy
        return None, elsewhere

    def _claim_run_of(self, point: Point) -> tuple[tuple[Trial, Lock] | None, bool]:
        """A run of this point that is left to do, claimed; and whether another driver is at one."""
        every = list_trials(self.setup, point.number, point.words)
        if self.study.is_elsewhere(point) and not self.adopt and not every[0].directory.exists():
            return None, True  # on a disk of its own
        busy = False
        mine = {one.trial.directory for one in self.active}
        for one in every:
            if one.run.result() is not None:
                continue
            if one.directory in mine or self.kills[one.directory.name] >= PATIENCE:
                if one.first and self.rungs:
                    break
                continue
            if held := claim(one):
                if one.run.result() is None and not self.study.has_ended(point.number):
                    return (one, held), False
                held.release()
            else:
                busy = True
            if one.first and self.rungs:
                break  # the first seed's values say whether the others are run at all
        else:
            if all(one.run.result() is not None for one in every):
                self._complete(every)
        return None, busy

    def _start(self, slot: int, one: Trial, held: Lock) -> None:
        words = make_command(self.setup, one)
        self.display.show_start(one, again=words[-1].startswith("resume="))
        began = read_progress(one)
        share = process.divide_machine(slot, self.jobs)
        child = process.start_process(words, one.log, share, self.environment)
        self.active.append(Active(slot, one, child, held, began, time.monotonic()))

    def _watch(self) -> None:
        """Wait until something has happened to a run of ours."""
        until = time.monotonic() + LOOK_ELSEWHERE_S
        while self.active and not self.signals.first and time.monotonic() < until:
            ended = [one for one in self.active if one.process.poll() is not None]
            for one in ended:
                self._handle_exit(one)
            if ended:
                return
            self._judge()
            self.display.show([one.trial for one in self.active])
            self._sleep(LOOK_S)

    def _judge(self) -> None:
        """End the runs that are not among the best at a rung."""
        for one in [*self.active] if self.rungs else ():
            written = count_logged_bytes(one.trial)
            if not one.trial.first or self.judged.get(one.trial.directory.name) == written:
                continue
            self.judged[one.trial.directory.name] = written
            values = read_values(one.trial, self.metric)
            if values and self.study.judge(one.trial.number, values):
                self._end([one])
                self._release(one)
                self._show_end(one, "ended early", values[-1])

    def _handle_exit(self, one: Active) -> None:
        """What an exit means: a result, the worst result, a kill, or a failure."""
        code = one.process.returncode
        self._release(one)
        if one.trial.run.result() is not None:
            if (found := read_value(one.trial, self.metric)) is None:
                raise refuse_unlogged(one.trial, self.metric)
            self._show_end(one, "finished", found)
            return  # the next look at its point tells the study, whoever takes it
        if code == DIVERGED:
            why = process.read_last_line(one.trial.log)
            self.study.complete(one.trial.number, math.nan, f"{one.trial.directory.name}: {why}")
            self._show_end(one, "diverged", why=why)
            return
        if process.was_killed(code):
            further = read_progress(one.trial) != one.began
            self.kills[one.trial.directory.name] = 0 if further else self.kills[one.trial.directory.name] + 1
            self._show_end(one, f"killed ({code})")
            return
        if code == DISK or self._disk_is_full(one.trial):
            raise refuse_full_disk(self.setup)
        why = process.read_last_line(one.trial.log) if code else "it ended without a result"
        self.study.fail(one.trial.number, f"{one.trial.directory.name}: code {code}: {why}")
        self._show_end(one, f"failed ({code})", why=why)

    def _show_end(self, one: Active, state: str, value: float | None = None, why: str = "") -> None:
        """Show how a run ended; how many are done is counted anew, for other drivers are at it, too."""
        self.display.done = count_done(self.setup, self.study.points())
        self.display.show_end(one.trial, state, value, time.monotonic() - one.since_s, why)

    def _complete(self, every: list[Trial]) -> None:
        """Tell the study what a point whose runs are all finished came to: the mean over its seeds."""
        number = every[0].number
        if self.rungs and self.study.judge(number, read_values(every[0], self.metric)):
            return
        values = [read_value(one, self.metric) for one in every]
        for one, found in zip(every, values, strict=True):
            if found is None:
                raise refuse_unlogged(one, self.metric)
        self.study.complete(number, fmean(v for v in values if v is not None))

    def _release(self, one: Active) -> None:
        self.active.remove(one)
        one.claim.release()

    def _disk_is_full(self, one: Trial) -> bool:
        said = process.read_last_line(one.log)
        with suppress(OSError):
            said += one.run.error_file.read_text(errors="replace")[-2000:]
        return "No space left on device" in said or shutil.disk_usage(one.directory).free < FULL_BYTES

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self.signals.first and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
