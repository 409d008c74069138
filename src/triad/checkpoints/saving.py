"""Writing checkpoints beside training: it waits for a copy of the tensors in the host's memory, no longer."""

import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from triad.checkpoints.folder import INDEX, rotate
from triad.manifest import Facts, Files, described, seal, sync
from triad.sentences import one_line

State = dict[str, dict[str, Any]]

LEAVING_S = 10.0  # how long a process that ends on an error waits for a save under way


class Saver:
    """Save in a thread of its own, one checkpoint at a time; every process of the run saves its shards.

    A failed save (a full disk, say) harms neither training nor the checkpoints before it; `failures` tells of
    it. The processes speak over a gloo group of their own, as messages of two threads in one group would mix.
    """

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self.group: Any = dist.new_group(backend="gloo") if dist.is_initialized() else None
        self.rank = dist.get_rank() if self.group else 0
        if self.group is None:
            warnings.filterwarnings("ignore", ".*torch.distributed is disabled.*")  # one process, as asked
        cuda = torch.cuda.is_available()
        self.stager = DefaultStager(
            StagingOptions(cuda, use_shared_memory=False, use_async_staging=False, use_non_blocking_copy=cuda)
        )
        self.thread: Thread | None = None
        self.failures: list[str] = []

    def save(self, path: Path, tensors: Callable[[], tuple[State, State]], facts: Facts) -> None:
        """Ask for tensors, copy them and let a thread write them to `path`.

        `tensors` gives two states: one that training will change, and one that is the saver's own, which
        needs no copy. A save that is still under way is waited for.
        """
        began = time.perf_counter()
        self.wait()
        changing, own = tensors()
        copied: Any = self.stager.stage(changing)
        facts["blocked_s"] = time.perf_counter() - began
        self.thread = Thread(target=self._write, args=(path, copied | own, facts, began), daemon=True)
        self.thread.start()

    def wait(self, longest_s: float | None = None) -> None:
        """Until the save under way has ended."""
        if self.thread:
            self.thread.join(longest_s)

    def _write(self, path: Path, tensors: dict[str, Any], facts: Facts, began: float) -> None:
        beside = path.with_suffix(".tmp")
        try:
            self._together(lambda: _emptied(beside) if self.rank == 0 else {})
            metadata = dcp.save(
                tensors,
                storage_writer=dcp.FileSystemWriter(beside),
                process_group=self.group,
                no_dist=self.group is None,
            )
            files = self._together(lambda: _mine(beside, self.rank))
            if self.rank == 0:
                facts |= {
                    "tensors": _tensors(metadata),
                    "bytes": sum(file["bytes"] for file in files.values()),
                }
                facts["saved_s"] = time.perf_counter() - began
                seal(beside, facts, files)
                shutil.rmtree(path, ignore_errors=True)  # one that was torn
                os.replace(beside, path)
                sync(path.parent)
                rotate(path.parent, self.keep)
        except BaseException as error:  # torch's CheckpointException is not an Exception
            if self.rank == 0:
                shutil.rmtree(beside, ignore_errors=True)
            why = f"{_reason(error)}; {_free_mb(path):,.0f} MB are free"
            self.failures.append(f"{path} was not saved ({why})")

    def _together(self, work: Callable[[], Files]) -> Files:
        """What all processes' work comes to; it fails in all if it fails in one."""
        try:
            outcome: Any = work()
        except OSError as error:
            outcome = _reason(error)
        outcomes: list[Any] = [outcome]
        if self.group:
            outcomes = [None] * self.group.size()
            dist.all_gather_object(outcomes, outcome, group=self.group)
        if failed := next((said for said in outcomes if isinstance(said, str)), None):
            raise OSError(failed)
        return {name: file for files in outcomes for name, file in files.items()}


def write(path: Path, tensors: State, facts: Facts) -> None:
    """Write one checkpoint, here and now, and forget no other. Raises OSError if it cannot be written."""
    saver = Saver(keep=sys.maxsize)
    saver.save(path, lambda: ({}, tensors), facts)
    saver.wait()
    if saver.failures:
        raise OSError(saver.failures[0])


def _emptied(folder: Path) -> Files:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return {}


def _mine(folder: Path, rank: int) -> Files:
    """Describe what a process has written; the index is rank 0's."""
    paths = sorted(folder.glob(f"__{rank}_*")) + ([folder / INDEX] if rank == 0 else [])
    return {path.name: described(path) for path in paths}


def _tensors(metadata: Metadata) -> dict[str, dict[str, Any]]:
    """Shape and type by name."""
    return {
        name: {"shape": list(entry.size), "dtype": str(entry.properties.dtype).removeprefix("torch.")}
        for name, entry in metadata.state_dict_metadata.items()
        if isinstance(entry, TensorStorageMetadata)
    }


def _free_mb(path: Path) -> float:
    return shutil.disk_usage(next(folder for folder in path.parents if folder.exists())).free / 1e6


def _reason(error: BaseException) -> str:
    """The first thing that went wrong, on one line."""
    if isinstance(error, CheckpointException):
        error = next(iter(error.failures.values()))[0]
    first = error
    while first.__context__ and not isinstance(first, OSError):
        first = first.__context__
    return one_line(first if isinstance(first, OSError) else error)  # torch stumbles over what it left
