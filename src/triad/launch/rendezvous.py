"""Ranks that torchrun or srun has started agree on the run directory before anything else."""

import socket
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from triad.config.errors import Refusal
from triad.config.messages import MISTAKE, wait_to_be_ended
from triad.config.processes import set_slurm_variables
from triad.storage.locks import hold, read_holder

questions = count()  # a multirun asks once for each job
stores = []  # kept alive, as rank 0 may host the store
SEEN_S = 5.0  # how long the cache of a network file system may hide what another node has written


@contextmanager
def agree_on_run(directory: Path, prepare: Callable[[], Path]) -> Generator[Path]:
    """Rank 0 locks `directory` and prepares the run in it; every rank gets the path of the run.

    The lock is held until the work within has ended. A rank ends with the exit code of a mistake when rank 0
    could not prepare the run, when another job is running it, or when a node does not see what rank 0 wrote:
    rank 0 says which. Under SLURM the variables that torchrun would set are set here first.
    """
    (store, rank, world), question = _join(), f"triad/run/{next(questions)}"
    if rank == 0:
        with ExitStack() as held:
            try:
                holder = held.enter_context(hold(directory))
                path = prepare()
                store.set(question, f"{path}\n{holder}")
                _check_all_see(store, question, path, world)
            except BaseException:
                store.set(question, "")
                store.set(f"{question}/agreed", "")
                raise
            store.set(f"{question}/agreed", "1")
            yield path
        return
    answer, _, holder = store.get(question).decode().partition("\n")
    if answer:
        store.set(f"{question}/{rank}", "" if _sees(Path(answer), holder) else socket.gethostname())
    if not answer or not store.get(f"{question}/agreed"):
        wait_to_be_ended()  # rank 0 reports why
        raise SystemExit(MISTAKE)
    yield Path(answer)


def _check_all_see(store: Any, question: str, path: Path, world: int) -> None:
    """Raise Refusal if a rank does not see the run directory."""
    blind = {store.get(f"{question}/{rank}").decode() for rank in range(1, world)} - {""}
    if blind:
        raise Refusal(
            f"{path}: {' and '.join(sorted(blind))} cannot see this directory as {socket.gethostname()} has"
            " written it: all nodes need one disk; set output_dir= to a folder that they share"
        )


def _sees(directory: Path, holder: str) -> bool:
    """Whether this rank reads in a directory what the rank that holds it has written."""
    deadline = time.monotonic() + SEEN_S
    while not (seen := read_holder(directory) == holder) and time.monotonic() < deadline:
        time.sleep(0.1)
    return seen


def ask_first_rank(ask: Callable[[], str]) -> str:
    """What rank 0 answers, on every rank."""
    store, rank, _ = _join()
    question = f"triad/ask/{next(questions)}"
    if rank == 0:
        store.set(question, ask())
    return store.get(question).decode()


def _join() -> tuple[Any, int, int]:
    """The store of all ranks, the number of this one, and how many there are."""
    from torch.distributed import rendezvous

    if not stores:
        set_slurm_variables()
        stores.append(next(rendezvous("env://")))
    return stores[0]
