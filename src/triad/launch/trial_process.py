"""A trial's process: pinned to its share of the machine, its output in a log, dying with its driver."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from triad.config.processes import count_cores, list_gpus, without_launcher
from triad.launch.forking import ForkedProcess
from triad.launch.supervisor import GRACE_S, die_with, read_grace, send_signal
from triad.runs.directory import Run
from triad.runs.signals import ENDING, Signals
from triad.storage.durable import open_in_place

OWN_S = 5.0  # that train.py has beyond the grace of its ranks


class Resources(NamedTuple):
    """What one of several trials side by side may use; None: no limit."""

    cores: list[int] | None
    gpus: list[str] | None
    threads: int | None  # where the system does not pin


def divide_machine(slot: int, jobs: int) -> Resources:
    """The slot's part of this process's cores and GPUs, as equal as can be; at least one of each."""
    if jobs == 1:
        return Resources(None, None, None)
    cards = list_gpus()
    pinned = hasattr(os, "sched_getaffinity")
    return Resources(
        _take_part(sorted(os.sched_getaffinity(0)), slot, jobs) if pinned else None,
        _take_part(cards, slot, jobs) if cards else None,
        None if pinned else max(1, count_cores() // jobs),
    )


def start_process(command: list[str], log: Path, share: Resources, added: dict[str, str]) -> subprocess.Popen:
    """Start a trial; what it prints is added to the log."""
    # train.py and OpenMP count the cores that they may use: no number of threads has to be told where we pin
    if share.threads:
        added = added | {"OMP_NUM_THREADS": str(share.threads)}
    if share.gpus:
        added = added | {"CUDA_VISIBLE_DEVICES": ",".join(share.gpus)}
    with open(log, "ab", opener=open_in_place) as file:
        return subprocess.Popen(
            command,
            env=without_launcher(os.environ)
            | added,  # a driver may be a task of a cluster; its trials are none
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours to pass on; and a whole trial can be ended at once
            preexec_fn=partial(_set_up_child, os.getpid(), share.cores),
        )


def end_processes(
    processes: Sequence[subprocess.Popen | ForkedProcess], runs: list[Run], signals: Signals
) -> None:
    """Ask trials to save and end, and make them after the grace of their runs or a second signal."""
    grace_s = max((read_grace(run.config(has_task=False)) for run in runs if run.exists), default=GRACE_S)
    deadline = time.monotonic() + grace_s + OWN_S
    for process in processes:
        send_signal(process, signal.SIGTERM)
    while any(process.poll() is None for process in processes):
        if signals.again or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    for process in processes:
        send_signal(process, signal.SIGKILL)
        process.wait()


def was_killed(code: int) -> bool:
    """Whether a process was ended from outside, itself or (128 + signal) a child whose end it tells."""
    ended = (signal.SIGKILL, *ENDING)
    return -code in ended or code - 128 in ended


def read_last_line(log: Path) -> str:
    """What a trial said last."""
    with suppress(OSError):
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else ""
    return ""


def _take_part(whole: list, slot: int, jobs: int) -> list:
    if len(whole) < jobs:
        return [whole[slot % len(whole)]]
    return whole[slot * len(whole) // jobs : (slot + 1) * len(whole) // jobs]


def _set_up_child(parent: int, cores: list[int] | None) -> None:
    """Before the trial's program: its cores, and death with the driver."""
    if cores:
        os.sched_setaffinity(0, cores)
    die_with(parent)
