"""A process that has imported and read what a run does: runs are forked from it, so that none waits for it.

    warm = WarmProcess(environment)
    warm.run(["train.py", "debug=tiny"], cwd, environment)     # as subprocess.run([sys.executable, ...])
    warm.launch(["script.py", "word"], ranks=2)                 # as torchrun
    warm.call(run_cases, cases, folder)                         # a function that launches ranks

Every run is a process of its own, and so is each of its ranks: only `exec` and the imports are left out. What
is tested about starting itself (kill -9, torchrun, what the parent imports) starts a fresh interpreter.
"""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from triad.launch.forking import ForkedProcess, fork, fork_ranks, run_words
from triad.launch.supervisor import launch

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
    fork_ranks()
    while True:
        try:
            work, cwd, environment, folder, timeout = connection.recv()
        except EOFError:
            return
        task = partial(call, work, folder) if isinstance(work, bytes) else partial(run_words, work)
        process = fork(task, environment, partial(redirect, cwd, folder))
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
