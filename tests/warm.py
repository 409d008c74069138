"""A process that has imported and read what a run does: runs are forked from it, so that none waits for it.

    warm = WarmProcess(environment)
    warm.run(["train.py", "debug=tiny"], cwd, environment)     # as subprocess.run([sys.executable, ...])
    warm.launch(["script.py", "word"], ranks=2)                 # as torchrun
    warm.call(run_cases, cases, folder)                         # a function that launches ranks

Every run is a process of its own, and so is each of its ranks: only `exec` and the imports are left out. What
is tested about starting itself (kill -9, torchrun, what the parent imports) starts a fresh interpreter.
"""

import atexit
import os
import pickle
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import triad.launch.supervisor
from triad.launch.supervisor import die_with, launch

REPOSITORY = Path(__file__).parents[1]
PARTS = (
    "callbacks checkpoints config data hardware launch layers loggers models optim runs schedules strategies "
    "tasks"
)
HEAVY = {"triad.strategies.deepspeed"}  # it changes torch when it is imported


def drop_stages(text: str) -> list[str]:
    """The lines of a text but those of triad.config.stages."""
    return [line for line in text.splitlines() if not line.endswith(" ...")]


class WarmProcess:
    """The client: one server for the tests of a worker."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.connection, theirs = Pipe()
        command = [sys.executable, "-m", "tests.warm", str(theirs.fileno())]
        self.process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, pass_fds=[theirs.fileno()])
        theirs.close()

    def run(
        self, words: list[str], cwd: Path, environment: dict[str, str], timeout: float = 240
    ) -> subprocess.CompletedProcess:
        """Run a script, `-m module` or `-c code`, with its words."""
        with tempfile.TemporaryDirectory() as folder:
            code = self._fork(words, cwd, environment, Path(folder), timeout)
            out, err = (Path(folder, name).read_text(encoding="utf-8") for name in ("out", "err"))
        return subprocess.CompletedProcess(words, code, out, err)

    def call(self, function: Callable, *arguments: Any, timeout: float = 900) -> Any:
        """The value of a module's function, which must not fail; what it prints is printed here."""
        with tempfile.TemporaryDirectory() as folder:
            work = pickle.dumps((function, arguments))
            alone = os.environ | {"OMP_NUM_THREADS": "1"}
            code = self._fork(work, Path.cwd(), alone, Path(folder), timeout)
            print(*(Path(folder, name).read_text(encoding="utf-8") for name in ("out", "err")))
            assert code == 0
            return pickle.loads(Path(folder, "value").read_bytes())

    def launch(self, words: list[str], ranks: int) -> int:
        """The exit code of `python word ...` on so many ranks."""
        return self.call(launch, [sys.executable, *words], ranks, 1)

    def _fork(self, work: Any, cwd: Path, environment: dict, folder: Path, timeout: float) -> int:
        self.connection.send((work, str(cwd), environment, str(folder), timeout))
        code = self.connection.recv()
        if code is None:
            raise subprocess.TimeoutExpired(str(work), timeout)
        return code

    def end(self) -> None:
        """End the server."""
        self.connection.close()
        self.process.wait()


class ForkedProcess:
    """What a launcher asks of the processes that it started."""

    def __init__(self, pid: int) -> None:
        self.pid, self.returncode = pid, None

    def poll(self) -> int | None:
        """The exit code, or None while the process runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


def fork_rank(command: list[str], environment: dict[str, str]) -> ForkedProcess:
    """In place of a launcher's Popen([sys.executable, ...])."""
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    return ForkedProcess(fork(partial(run_words, command[1:]), environment, partial(die_with, parent)))


def fork(work: Callable[[], None], environment: dict[str, str], prepare: Callable[[], None]) -> int:
    """Do the work in a process that is as `exec` would leave it, but for its modules; return its number."""
    if child := os.fork():
        return child
    code = 1
    try:
        os.setsid()
        prepare()
        os.closerange(3, 1024)
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


def run_words(words: list[str]) -> None:
    """`python word ...`"""
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


def redirect(cwd: str, folder: str) -> None:
    """Standard streams and the working directory."""
    os.chdir(cwd)
    for number, (name, mode) in enumerate((("/dev/null", "r"), ("out", "w"), ("err", "w"))):
        with open(Path(folder, name), mode) as file:
            os.dup2(file.fileno(), number)


def call(work: bytes, folder: str) -> None:
    """Call a function and write its value."""
    function, arguments = pickle.loads(work)
    Path(folder, "value").write_bytes(pickle.dumps(function(*arguments)))


def serve(connection: Connection) -> None:
    """Fork what is asked for, one after another, until nobody asks."""
    triad.launch.supervisor._start = fork_rank
    while True:
        try:
            work, cwd, environment, folder, timeout = connection.recv()
        except EOFError:
            return
        task = partial(call, work, folder) if isinstance(work, bytes) else partial(run_words, work)
        process = ForkedProcess(fork(task, environment, partial(redirect, cwd, folder)))
        connection.send(wait(process, timeout))


def wait(process: ForkedProcess, timeout: float) -> int | None:
    """The exit code, or None if the process had to be killed."""
    deadline = time.monotonic() + timeout
    while process.poll() is None:
        if time.monotonic() > deadline:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            os.waitpid(process.pid, 0)
            return None
        time.sleep(0.01)
    return process.returncode


if __name__ == "__main__":
    import pkgutil
    from importlib import import_module

    for part in PARTS.split():
        package = import_module(f"triad.{part}")
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                import_module(module.name)
    from triad.config.compose import compose

    compose([])  # signatures and choices are read once: a start costs 1.5 s of CPU, not 2.7 (2026-11)
    serve(Connection(int(sys.argv[1])))
