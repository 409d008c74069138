"""Start one process per rank and supervise them. Imports no torch.

The first failure, a signal, or the death of this parent ends every rank. The exit code is that of the failing
rank, or 128 + the signal.
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

GRACE_S = 10.0  # between asking a rank to end and killing it
PR_SET_PDEATHSIG = 1
EPHEMERAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
PORTS = 4000
# How often an idle OpenMP thread looks for work before it sleeps. At libgomp's 300,000 it keeps its core from
# whoever else has work there: under a load of 7, two threads on two cores made 1.0 to 1.8 steps a second, and
# 5 to 14 at 1,000 (EPYC, torch 2.13, 2026-11-29).
SPINS = "1000"


class Interrupted(Exception):
    """A signal asked this parent to end: start nothing else. Holds the exit code, 128 + the signal."""


def launch(command: list[str], ranks: int, threads: int) -> int:
    """Run `command` once per rank on this machine, `threads` compute threads each; return the exit code.

    Raises Interrupted, after the ranks have ended, when a signal asked this process to end.
    """
    assert ranks > 0
    caught: list[int] = []
    previous = {s: signal.signal(s, lambda s, _: caught.append(s)) for s in (signal.SIGINT, signal.SIGTERM)}
    processes: list[subprocess.Popen] = []
    try:
        processes += [_start(command, environment) for environment in _make_environments(ranks, threads)]
        code = _supervise(processes, caught)
        if caught:
            raise Interrupted(code)
        return code
    finally:
        for process in processes:
            send_signal(process, signal.SIGKILL)
        for name, handler in previous.items():
            signal.signal(name, handler)


def _make_environments(ranks: int, threads: int) -> list[dict[str, str]]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    shared = inherited | {  # without SLURM's words, which would give every rank the batch script's number
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


def _supervise(processes: list[subprocess.Popen], caught: list[int]) -> int:
    code, deadline = 0, None
    while any(process.poll() is None for process in processes):
        failed = next((rank for rank, process in enumerate(processes) if process.poll()), None)
        if deadline is None and (failed is not None or caught):
            code = (
                128 + caught[0] if caught or failed is None else _to_exit_code(processes[failed].returncode)
            )
            if len(processes) > 1 and not caught:
                print(
                    f"rank {failed} ended with code {code}; ending the other ranks",
                    file=sys.stderr,
                    flush=True,
                )
            deadline = time.monotonic() + GRACE_S
            for process in processes:
                send_signal(process, signal.SIGTERM)
        elif deadline is not None and (time.monotonic() > deadline or len(caught) > 1):
            for process in processes:
                send_signal(process, signal.SIGKILL)
        time.sleep(0.02)
    return code or next((_to_exit_code(process.returncode) for process in processes if process.returncode), 0)


def _to_exit_code(code: int) -> int:
    """A process that a signal ended has a negative return code; the shell's habit is 128 + signal."""
    return 128 - code if code < 0 else code
