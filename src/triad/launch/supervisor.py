"""Start one process per rank and supervise them. Imports no torch.

The first failure, a signal, or the death of this parent ends every rank. The exit code is that of the failing
rank, or 128 + the signal. A signal is passed on to the ranks, which save and end; a second one kills them.
"""

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from triad.config.errors import Interrupted
from triad.config.own_code import repeat_words
from triad.config.processes import OURS, without_launcher
from triad.runs.signals import ENDING, Signals

FAILED_S = 10.0  # between asking the other ranks of one that failed to end and killing them
GRACE_S = 30.0  # the same after a signal, as SLURM and Kubernetes have it
FINISHED = 100  # how a rank ends that has finished its run: os._exit(0) amid training ends it with 0, too
PR_SET_PDEATHSIG = 1
EPHEMERAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
PORTS = 4000
# How often an idle OpenMP thread looks for work before it sleeps. At libgomp's 300,000 it keeps its core from
# whoever else has work there: under a load of 7, two threads on two cores made 1.0 to 1.8 steps a second, and
# 5 to 14 at 1,000 (EPYC, torch 2.13, 2026-11-29).
SPINS = "1000"


def read_grace(config: dict) -> float:
    """The seconds that a run has to save when a signal ends it."""
    checkpoint = (config.get("callbacks") or {}).get("checkpoint") or {}
    return checkpoint.get("grace_s", GRACE_S)


def launch_ranks(script: str, run: Path, ranks: int, threads: int, grace_s: float) -> int:
    """Train from a run directory in this machine's ranks; return the exit code. Raises Interrupted."""
    return launch(
        [sys.executable, script, "--run", str(run), *repeat_words()], ranks, threads, grace_s, FINISHED
    )


def launch(command: list[str], ranks: int, threads: int, grace_s: float = GRACE_S, finished: int = 0) -> int:
    """Run `command` once per rank on this machine, `threads` compute threads each; return the exit code.

    After a signal the ranks have `grace_s` seconds. A rank that is done ends with the code `finished`; one
    that ends with 0 in its place has failed. Raises Interrupted, after the ranks have ended, when a signal
    asked this process to end: it is to start nothing else.
    """
    assert ranks > 0
    signals = Signals()
    previous = signals.catch()
    processes: list[subprocess.Popen] = []
    try:
        processes += [_start(command, environment) for environment in _make_environments(ranks, threads)]
        code = _supervise(processes, signals, grace_s, finished)
        if signals.first:
            raise Interrupted(code)
        return code
    finally:
        for process in processes:
            send_signal(process, signal.SIGKILL)
        for name, handler in previous.items():
            signal.signal(name, handler)


def _make_environments(ranks: int, threads: int) -> list[dict[str, str]]:
    inherited = without_launcher(os.environ)
    shared = inherited | {
        OURS: "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_find_free_port()),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "NODE_RANK": "0",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
    }
    if "OMP_WAIT_POLICY" not in inherited:
        shared.setdefault("GOMP_SPINCOUNT", SPINS)
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]


def _find_free_port() -> int:
    """A port for rank 0 to listen at, outside those that the system deals out.

    One of these could be dealt to another launch, or to a connection, before rank 0 has it.
    """
    first_dealt = int(EPHEMERAL_PORTS.read_text().split()[0]) if EPHEMERAL_PORTS.exists() else 32768
    ports = range(max(1024, first_dealt - PORTS), first_dealt) or range(20_000, 20_000 + PORTS)
    for port in random.SystemRandom().sample(ports, len(ports)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError(f"none of the ports {ports[0]} to {ports[-1]} is free")


def _start(command: list[str], environment: dict[str, str]) -> subprocess.Popen:
    # A session of its own, so that a rank's data workers and loggers end with it.
    return subprocess.Popen(
        command, env=environment, preexec_fn=partial(die_with, os.getpid()), start_new_session=True
    )


def die_with(parent: int) -> None:
    """Have the system kill this process when its parent dies (Linux), also if that is dead already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def send_signal(process: subprocess.Popen, number: int) -> None:
    """Send a signal to a process and all that it started in its session."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def _supervise(processes: list[subprocess.Popen], signals: Signals, grace_s: float, finished: int) -> int:
    code, deadline = 0, None
    asked = killed = False
    while any(process.poll() is None for process in processes):
        failed = [rank for rank, one in enumerate(processes) if one.poll() not in (None, finished)]
        if signals.first and not asked:
            asked, deadline = True, time.monotonic() + grace_s
            _say(f"{signal.Signals(signals.first).name}: this run saves and ends; once more ends it at once")
            for process in processes:
                if process.poll() is None:  # alone: what it started, a logger's process, serves it to its end
                    os.kill(process.pid, signals.first)
        elif failed and deadline is None:
            code, deadline = _report_failure(failed[0], processes), time.monotonic() + FAILED_S
            for process in processes:
                send_signal(process, signal.SIGTERM)
        elif deadline and not killed and (time.monotonic() > deadline or signals.again):
            killed = True
            if asked and not signals.again:
                _say(f"killed: it has not ended within callbacks.checkpoint.grace_s={grace_s:g}")
            for process in processes:
                send_signal(process, signal.SIGKILL)
        time.sleep(0.02)
    failed = [rank for rank, one in enumerate(processes) if one.returncode != finished]
    if asked:  # a rank may have failed to save
        codes = (processes[rank].returncode for rank in failed)
        return next((own for own in codes if 0 < own < 128), 128 + signals.first)
    return code or (_report_failure(failed[0], processes) if failed else 0)


def _report_failure(rank: int, processes: list[subprocess.Popen]) -> int:
    """Say which rank ends the others, unless it has said itself why; its exit code."""
    code = _to_exit_code(processes[rank].returncode)
    ending = "; ending the other ranks" if len(processes) > 1 else ""
    if not code:
        _say(f"error: rank {rank} ended with code 0 before its run was finished{ending}")
    elif ending and code - 128 not in ENDING:
        _say(f"rank {rank} ended with code {code}{ending}")
    return code or 1


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def _to_exit_code(code: int) -> int:
    """A process that a signal ended has a negative return code; the shell's habit is 128 + signal."""
    return 128 - code if code < 0 else code
