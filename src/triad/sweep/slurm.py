"""Drivers of a sweep as jobs of a SLURM cluster, submitted by submitit (the extra `slurm`).

Drivers share a sweep's work through its directory, so a cluster needs no more than several of them: jobs that
are late, preempted or killed cost nothing but the steps since a checkpoint.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from triad.config.errors import Refusal, one_line
from triad.config.locations import tell_install

STORAGE = "TRIAD_STORAGE"  # in the environment: what storage= says where it is not typed
SHARED = ("timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node", "name")


class Work:
    """One job: a driver that takes trials until none is left; submitted again when its time is over."""

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def __call__(self) -> int:
        driver = subprocess.Popen([sys.executable, "-m", "triad.sweep", *self.words])
        self.driver = driver.pid
        return driver.wait()

    def checkpoint(self) -> Any:
        """What submitit queues in place of a job that is preempted or out of time, once its trials are saved.

        It is called in a handler of the signal, amid Popen.wait, which holds a lock.
        """
        from submitit.helpers import DelayedSubmission  # ty: ignore[import-not-found]

        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.driver, signal.SIGTERM)
            os.waitpid(self.driver, 0)
        return DelayedSubmission(Work(self.words))


def submit(
    words: list[str],
    directory: Path,
    drivers: int,
    options: dict[str, str],
    cluster: str,
    storage: str | None = None,
) -> list:
    """Queue so many drivers; their jobs. Raises Refusal without submitit or SLURM, or at a wrong option.

    A database URL may hold a password: it goes to the jobs in their environment, which SLURM passes on, and
    not in their words, which submitit writes to a file.
    """
    try:
        import submitit  # ty: ignore[import-not-found]
    except ImportError:
        raise Refusal(f"launcher=slurm needs submitit: {tell_install('slurm')}") from None
    named = {key if key in SHARED else f"slurm_{key}": _to_number(value) for key, value in options.items()}
    if storage:
        os.environ[STORAGE] = storage
    try:
        executor = submitit.AutoExecutor(folder=directory / "slurm", cluster=cluster)
        executor.update_parameters(**{"name": directory.name} | named)
        return [executor.submit(Work(words)) for _ in range(drivers)]
    except (RuntimeError, NameError, ValueError) as error:
        raise Refusal(f"launcher=slurm: {one_line(error)}") from None


def _to_number(value: str) -> int | str:
    return int(value) if value.isdigit() else value
