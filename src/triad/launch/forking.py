"""Programs forked from a process that has imported what they import: a start without its imports.

What is forked is as `exec` would leave it, but for its modules: its own session, environment, signals and
output; its ranks are forked, too. The process that forks must not have computed: threads do not come along.
"""

import atexit
import os
import runpy
import signal
import sys
import traceback
import warnings
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from triad.launch import supervisor

OPEN_FILES = 1024  # the highest number of a file that a forked process closes


class ForkedProcess:
    """What a launcher asks of the processes that it started, as of subprocess.Popen."""

    def __init__(self, pid: int) -> None:
        self.pid, self.returncode = pid, None

    def poll(self) -> int | None:
        """The exit code, or None while the process runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self) -> int:
        """The exit code, when the process has ended."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


def fork(work: Callable[[], None], environment: dict[str, str], prepare: Callable[[], None]) -> ForkedProcess:
    """Do the work in a process of its own session; `prepare` sets it up while its files are still open."""
    sys.stdout.flush()
    sys.stderr.flush()
    if child := os.fork():
        return ForkedProcess(child)
    code = 1
    try:
        os.setsid()
        prepare()
        os.closerange(3, OPEN_FILES)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(environment)
        for finalizer in list(weakref.finalize._registry):
            finalizer.atexit = False  # the temporary folders of those that started this process are theirs
        work()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def fork_ranks() -> None:
    """From now on this process, and those forked from it, fork the ranks that they launch."""
    supervisor.start_rank = _fork_rank  # ty: ignore[invalid-assignment]


def run_words(words: list[str]) -> None:
    """Do what `python word ...` does."""
    if words[0] == "-W":
        warnings._processoptions(words[1:2])
        run_words(words[2:])
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        exec(words[1], {"__name__": "__main__"})
    elif words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, str(Path(words[0]).resolve().parent))
        runpy.run_path(words[0], run_name="__main__")


def _fork_rank(command: list[str], environment: dict[str, str]) -> Any:
    """In place of Popen([sys.executable, ...])."""
    parent = os.getpid()
    work = partial(_run_rank, command[1:], int(environment["OMP_NUM_THREADS"]))
    return fork(work, environment, partial(supervisor.die_with, parent))


def _run_rank(words: list[str], threads: int) -> None:
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)  # OpenMP has read the environment of the process that forks
    run_words(words)
