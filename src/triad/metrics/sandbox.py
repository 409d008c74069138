"""Programs with their tests, each in a process that the kernel confines."""

import json
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from typing import NamedTuple

from triad.metrics import confinement
from triad.metrics.confinement import CONFINED, LONGEST_REPORT, REPORT, TOKEN, find_missing

PATIENCE = 10  # seconds of the clock for each of the processor: other processes want theirs, too
WRITTEN_BYTES = 1 << 20


class Outcome(NamedTuple):
    """Whether a program came to its end without an error, and if not, why."""

    passed: bool
    why: str = ""


def run_program(program: str, seconds: int, memory_bytes: int) -> Outcome:
    """Run the text of a program and its tests to their end.

    It has `seconds` of processor time, ten times as many by the clock, `memory_bytes` of address space, one
    process, the standard library to read, and no file to write, no network and no other process (see
    triad.metrics.confinement). Only Python's `exec` coming to the end of the text passes: neither leaving
    early nor what is printed does. A program that is written against this file can still report what it
    likes, since it shares its process with its tests; it cannot do more. Raises ValueError where this machine
    cannot confine it, and OSError where a process did not come as far as that.
    """
    if missing := find_missing():
        raise ValueError(tell_missing(missing))
    token = secrets.token_hex(16).encode()
    token_read, token_write = os.pipe()
    report_read, report_write = os.pipe()
    os.write(token_write, token)
    os.close(token_write)
    job = {"program": program, "seconds": seconds, "memory_bytes": memory_bytes}
    job |= {TOKEN: token_read, REPORT: report_write, "written_bytes": WRITTEN_BYTES}
    command = [sys.executable, "-s", "-S", "-P", "-B", confinement.__file__]
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PYTHONHASHSEED": "0"},
        cwd="/",
        pass_fds=(token_read, report_write),
        start_new_session=True,  # a signal of the terminal, such as Ctrl-C, is for the parent
    )
    os.close(token_read)
    os.close(report_write)
    try:
        said, ended = _talk(child, json.dumps(job).encode(), report_read, PATIENCE * seconds)
    finally:
        child.kill()
        child.wait()
        os.close(report_read)
    if not said.startswith(CONFINED):
        raise OSError("a program was not run: its process could not be confined")
    if said == CONFINED + token:
        return Outcome(True)
    told = said.removeprefix(CONFINED).decode(errors="replace")
    return Outcome(False, told or _tell(ended, child.returncode, seconds))


def tell_missing(missing: str) -> str:
    return (
        f"programs of a model run confined only, which takes {missing}: leave out metrics=pass_at_k here, or "
        "compute it on a machine that has it"
    )


def _talk(child: subprocess.Popen, job: bytes, report: int, seconds: float) -> tuple[bytes, bool]:
    """Give the child its job and read its report, of a bounded length; and whether it ended in time."""
    end = time.monotonic() + seconds
    try:
        child.stdin.write(job)
        child.stdin.close()
    except BrokenPipeError:
        pass
    said, reports = b"", select.poll()  # select.select knows descriptors up to 1,023 only
    reports.register(report, select.POLLIN)
    while len(said) <= LONGEST_REPORT:
        if not reports.poll(1000 * max(0.0, end - time.monotonic())):
            return said, False
        if not (block := os.read(report, LONGEST_REPORT + 1)):
            break
        said += block
    return said, True


def _tell(ended: bool, code: int, seconds: int) -> str:
    if not ended:
        return f"not at its end after {PATIENCE * seconds} s"
    if code == -signal.SIGKILL:
        return f"ended by the kernel, as after {seconds} s of processor time"
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return "left before its end"
