"""Chunks of documents worked on by all cores of this machine."""

import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import chain, islice
from multiprocessing import current_process, get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread
from types import ModuleType
from typing import TypeVar

Chunk = TypeVar("Chunk")
Done = TypeVar("Done")
ALONE = 4  # chunks that are done before other processes are started, which takes half a second


class LocalProcesses:
    """Processes of this machine, one for each core that this one may use: `taskset -c 0 ...` allows one.

    A short text is done in this process alone. Of each process two chunks are in memory at most.
    """

    def map(self, work: Callable[[Chunk], Done], read: Callable[[], Iterator[Chunk]]) -> Iterator[Done]:
        chunks, cores = read(), 1 if current_process().daemon else count_cores()  # daemons have no children
        yield from map(work, islice(chunks, None if cores == 1 else ALONE))
        for following in chunks:
            yield from _share(work, chain([following], chunks), cores)


def count_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _share(work: Callable[[Chunk], Done], chunks: Iterator[Chunk], cores: int) -> Iterator[Done]:
    pool = ProcessPoolExecutor(cores, get_context("spawn"), _end_with_parent)
    begun: deque[tuple[Chunk, Future[Done]]] = deque()
    try:
        for chunk in chunks:
            begun.append((chunk, _submit(pool, work, chunk)))
            if len(begun) == 2 * cores:
                yield _finish(work, *begun.popleft())
        while begun:
            yield _finish(work, *begun.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, work: Callable[[Chunk], Done], chunk: Chunk) -> "Future[Done]":
    """Begin a chunk. Processes that this starts have SIGINT blocked until they end by it silently.

    They do not run the script that this process runs, as multiprocessing would have them do if it knew it:
    not every script keeps its work behind `if __name__ == "__main__"`.
    """
    before, script = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}), sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        return pool.submit(work, chunk)
    finally:
        sys.modules["__main__"] = script
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _finish(work: Callable[[Chunk], Done], chunk: Chunk, begun: "Future[Done]") -> Done:
    with suppress(Exception):
        return begun.result()
    if isinstance(begun.exception(), BrokenProcessPool):
        raise ChildProcessError(
            "a process that cleaned documents was killed, most likely for want of memory; with one core, by "
            "taskset -c 0, less is held at once"
        )
    return work(chunk)  # where it raises its error as it does without other processes


def _end_with_parent() -> None:
    """End silently by Ctrl-C, and when the first process is killed."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    def watch(sentinel: int) -> None:
        wait([sentinel])
        os._exit(1)

    if parent := parent_process():
        Thread(target=watch, args=(parent.sentinel,), daemon=True).start()
