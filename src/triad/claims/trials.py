"""The trials of a claim: each arm with each seed, a run like any other, forked from this process.

A trial that is finished is not run again; one that was interrupted goes on from its checkpoint.
"""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from triad.claims.claim import Claim
from triad.config.errors import Interrupted, Refusal
from triad.config.locations import TRAIN
from triad.config.processes import without_launcher
from triad.launch import trial_process
from triad.launch.forking import ForkedProcess, fork, run_words
from triad.launch.supervisor import die_with
from triad.runs.directory import Run
from triad.runs.signals import Signals
from triad.storage.durable import open_in_place

LOOK_S = 0.1
CONTROL = "control"


class Trial(NamedTuple):
    """One run of a claim: its arm, `control` being one of them, its seed and the words that start it."""

    arm: str
    seed: int
    run: Run
    words: list[str]


def list_trials(claim: Claim, words: list[str], folder: Path) -> list[Trial]:
    """Every arm and the control with every seed."""
    ((_, controls),) = claim.control.items()
    found = []
    for arm, own in {**claim.arms, CONTROL: controls}.items():
        for seed in range(claim.seeds):
            run = Run(folder / f"{arm}-{seed}")
            placed = [f"seed={seed}", f"run_id={run.id}", f"output_dir={folder}"]
            found.append(Trial(arm, seed, run, [*words, *own, *placed]))
    return found


def run_trials(trials: list[Trial], jobs: int, show: Callable[[Trial, int], None]) -> None:
    """Run what is not finished, `jobs` at a time; `show` is told what has just ended and how many are left.

    Raises Refusal for a trial that fails and Interrupted after a signal, when the others have ended.
    """
    waiting = [one for one in trials if one.run.result() is None]
    active: dict[int, tuple[Trial, ForkedProcess]] = {}
    signals = Signals()
    previous = signals.catch()
    try:
        while (waiting or active) and not signals.first:
            for slot in {*range(jobs)} - {*active}:
                if waiting:
                    active[slot] = waiting[0], _start(waiting.pop(0), slot, jobs)
            for slot, (one, process) in [*active.items()]:
                if process.poll() is not None:
                    del active[slot]
                    if one.run.result() is None and not signals.first:
                        raise _refuse(one, process.returncode)
                    show(one, len(waiting) + len(active))
            time.sleep(LOOK_S)
        if signals.first:
            raise Interrupted(128 + signals.first)
    finally:
        trial_process.end_processes(
            [process for _, process in active.values()], [one.run for one, _ in active.values()], signals
        )
        for number, handler in previous.items():
            signal.signal(number, handler)


def _start(one: Trial, slot: int, jobs: int) -> ForkedProcess:
    words = [f"resume={one.run}"] if one.run.exists else one.words
    share = trial_process.divide_machine(slot, jobs)
    environment = without_launcher(os.environ)
    prepare = partial(_set_up, one.run.log_file, os.getpid(), share)
    return fork(partial(run_words, [str(TRAIN), *words]), environment, prepare)


def _set_up(log: Path, parent: int, share: trial_process.Resources) -> None:
    """Before the trial's program: its output, its part of the machine, and death with this process."""
    log.parent.mkdir(parents=True, exist_ok=True)
    null = os.open(os.devnull, os.O_RDONLY)
    output = open_in_place(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number, target in ((0, null), (1, output), (2, output)):
        os.dup2(target, number)
    if share.cores:
        os.sched_setaffinity(0, share.cores)
    die_with(parent)


def _refuse(one: Trial, code: int | None) -> Refusal:
    why = trial_process.read_last_line(one.run.log_file)
    return Refusal(f"{one.run}: it ended with code {code} and no result: {why}  (see {one.run.log_file})")
