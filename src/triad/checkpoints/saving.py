"""Writing checkpoints in a thread: training waits only until the tensors are copied to the host's memory."""

import os
import shutil
import sys
import time
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, TensorStorageMetadata
from torch.distributed.checkpoint.planner import WriteItem
from torch.distributed.tensor import DTensor

from triad.checkpoints.folder import INDEX, LEFTOVER, rotate
from triad.checkpoints.tensors import flatten
from triad.config.errors import one_line
from triad.storage.durable import remove_tree
from triad.storage.manifest import Facts, Files, describe_file, sync, write_manifest
from triad.strategies.state import FlatSlice

State = dict[str, dict[str, Any]]

ALIGNMENT = 64  # bytes, of a tensor in pinned memory
LEAVING_S = 10.0  # how long a process that ends on an error waits for a save under way


@dataclass
class Shard:
    """This process's shard of a tensor, read from a copy of it."""

    tensor: DTensor
    copy: Tensor

    def __create_write_items__(self, name: str, _: Any) -> list[WriteItem]:
        return self.tensor.__create_write_items__(name, self.tensor)

    def __get_tensor_shard__(self, index: MetadataIndex) -> Tensor:
        return self.copy


class Copies:
    """Copies in the host's memory of what this process holds; their room is kept for the next ones.

    Not torch's stager, which goes through all of the state each time: a sixth more than the copy itself (6 of
    38 ms, 2026-11). What is copied from a GPU goes into one block of pinned memory, of the size of the state:
    torch's allocator of pinned memory rounds each tensor up to a power of two.
    """

    def __init__(self) -> None:
        self.room: dict[str, Tensor] = {}

    @torch.no_grad()
    def copy(self, tensors: dict[str, Any]) -> dict[str, Any]:
        """The same, of copied tensors."""
        held = {name: _local(value) for name, value in tensors.items()}
        self._make_room({name: tensor for name, tensor in held.items() if name not in self.room})
        for name, tensor in held.items():
            self.room[name].copy_(tensor, non_blocking=tensor.is_cuda)
        for device in {tensor.device for tensor in held.values() if tensor.is_cuda}:
            torch.cuda.synchronize(device)
        return {name: _wrap_copy(value, self.room[name]) for name, value in tensors.items()}

    def _make_room(self, tensors: dict[str, Tensor]) -> None:
        on_gpu = {name: tensor for name, tensor in tensors.items() if tensor.is_cuda}
        self.room |= {name: torch.empty_like(x) for name, x in tensors.items() if name not in on_gpu}
        if not on_gpu:
            return
        sizes = [-(-tensor.nbytes // ALIGNMENT) * ALIGNMENT for tensor in on_gpu.values()]
        block = torch.empty(sum(sizes), dtype=torch.uint8)
        if pin(block):
            weakref.finalize(self, unpin, block).atexit = False  # the process's end frees it, too
        for (name, tensor), place in zip(on_gpu.items(), block.split(sizes), strict=True):
            self.room[name] = place[: tensor.nbytes].view(tensor.dtype).view(tensor.shape)


def pin(block: Tensor) -> bool:
    """Register memory with CUDA, so that a GPU copies into it by itself. Warns and returns False if not."""
    error = int(torch.cuda.cudart().cudaHostRegister(block.data_ptr(), block.nbytes, 0))
    if error:
        said = f"{block.nbytes / 1e6:,.0f} MB of memory for checkpoints cannot be pinned (CUDA error {error})"
        warnings.warn(f"{said}; training waits longer for each save", stacklevel=2)
    return not error


def unpin(block: Tensor) -> None:
    """Undo `pin`."""
    torch.cuda.cudart().cudaHostUnregister(block.data_ptr())


def _local(value: Tensor | FlatSlice) -> Tensor:
    """What this process holds of a tensor."""
    if isinstance(value, FlatSlice):
        return value.flat
    return value.to_local() if isinstance(value, DTensor) else value


def _wrap_copy(value: Tensor | FlatSlice, copy: Tensor) -> Tensor | FlatSlice | Shard:
    """A copy of what this process holds of a tensor, in that tensor's place."""
    if isinstance(value, FlatSlice):
        return FlatSlice(copy, value.start, value.shape)
    return Shard(value, copy) if isinstance(value, DTensor) else copy


class SavePlanner(DefaultSavePlanner):
    """torch's planner, which finds the shards in copies and stretches, too."""

    def lookup_object(self, index: MetadataIndex) -> Any:
        held = self.state_dict[index.fqn]
        return held.__get_tensor_shard__(index) if isinstance(held, Shard | FlatSlice) else held


class Saver:
    """Save in a thread of its own, one checkpoint at a time; every process of the run saves its shards.

    A failed save, such as on a full disk, harms neither training nor earlier checkpoints; it is added to
    `failures`. The threads use a gloo group of their own: messages of two threads in one group would mix.
    CUDA's current device is a thread's own, and GPU 0 in a new thread, where the first call would open a
    context that takes memory of the rank that trains there: the thread takes the device of its process.
    """

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self.group: Any = dist.new_group(backend="gloo") if dist.is_initialized() else None
        self.rank = dist.get_rank() if self.group else 0
        if self.group is None:
            warnings.filterwarnings("ignore", ".*torch.distributed is disabled.*")  # one process, as asked
        self.device = torch.cuda.current_device() if torch.cuda.is_initialized() else None
        self.copies = Copies()
        self.thread: Thread | None = None
        self.failures: dict[Path, str] = {}

    def save(self, path: Path, tensors: Callable[[], State], facts: Facts) -> None:
        """Ask for tensors, copy them and let a thread write them to `path`.

        A save that is still under way is waited for.
        """
        began = time.perf_counter()
        self.wait()
        copied = self.copies.copy(flatten(tensors()))
        facts["blocked_s"] = time.perf_counter() - began
        self.thread = Thread(target=self.write, args=(path, copied, facts, began), daemon=True)
        self.thread.start()

    def wait(self, longest_s: float | None = None) -> None:
        """Wait until the save under way has ended."""
        if self.thread:
            self.thread.join(longest_s)

    def write(self, path: Path, tensors: dict[str, Any], facts: Facts, began: float) -> None:
        """Write tensors that nobody changes meanwhile."""
        beside = path.with_suffix(LEFTOVER)
        try:
            if self.device is not None:
                torch.cuda.set_device(self.device)
            self.run_on_all_ranks(lambda: _make_empty(beside) if self.rank == 0 else {})
            metadata = dcp.save(
                tensors,
                storage_writer=dcp.FileSystemWriter(beside),
                planner=SavePlanner(),
                process_group=self.group,
                no_dist=self.group is None,
            )
            files = self.run_on_all_ranks(lambda: _describe_own_files(beside, self.rank))
            if self.rank == 0:
                facts |= {
                    "tensors": _describe_tensors(metadata),
                    "bytes": sum(file["bytes"] for file in files.values()),
                }
                facts["saved_s"] = time.perf_counter() - began
                write_manifest(beside, facts, files)
                remove_tree(path)  # one that was torn
                os.replace(beside, path)
                sync(path.parent)
        except BaseException as error:  # torch's CheckpointException is not an Exception
            if self.rank == 0:
                shutil.rmtree(beside, ignore_errors=True)
            why = f"{_find_cause(error)}; {_free_mb(path):,.0f} MB are free"
            self.failures[path] = f"{path} was not saved ({why})"
            return
        self.rotate(path.parent)

    def rotate(self, folder: Path) -> None:
        """Remove the checkpoints that are not kept; what cannot be removed is said and harms nothing."""
        if self.rank == 0:
            try:
                rotate(folder, self.keep)
            except OSError as error:
                print(f"{folder}: an older checkpoint was not removed ({one_line(error)})", flush=True)

    def all_gather(self, word: Any) -> list[Any]:
        """The value of every process, in order of rank."""
        words: list[Any] = [word]
        if self.group:
            words *= self.group.size()
            dist.all_gather_object(words, word, group=self.group)
        return words

    def run_on_all_ranks(self, work: Callable[[], Files]) -> Files:
        """Do the work in every process and merge the results; if it fails in one, it fails in all."""
        try:
            outcome: Any = work()
        except OSError as error:
            outcome = _find_cause(error)
        outcomes = self.all_gather(outcome)
        if failed := next((said for said in outcomes if isinstance(said, str)), None):
            raise OSError(failed)
        return {name: file for files in outcomes for name, file in files.items()}


def write_checkpoint(path: Path, tensors: State, facts: Facts) -> None:
    """Write one checkpoint in this thread and remove no other. Raises OSError if it cannot be written."""
    saver = Saver(keep=sys.maxsize)
    saver.write(path, flatten(tensors), facts | {"blocked_s": 0.0}, time.perf_counter())
    if saver.failures:
        raise OSError(saver.failures[path])


def _make_empty(folder: Path) -> Files:
    remove_tree(folder)
    folder.mkdir(parents=True, exist_ok=True)  # one in which NFS keeps a file that someone has open
    return {}


def _describe_own_files(folder: Path, rank: int) -> Files:
    """Describe what a process has written; the index is rank 0's."""
    paths = sorted(folder.glob(f"__{rank}_*")) + ([folder / INDEX] if rank == 0 else [])
    return {path.name: describe_file(path) for path in paths}


def _describe_tensors(metadata: Metadata) -> dict[str, dict[str, Any]]:
    """Shape and type by name."""
    return {
        name: {"shape": list(entry.size), "dtype": str(entry.properties.dtype).removeprefix("torch.")}
        for name, entry in metadata.state_dict_metadata.items()
        if isinstance(entry, TensorStorageMetadata)
    }


def _free_mb(path: Path) -> float:
    return shutil.disk_usage(next(folder for folder in path.parents if folder.exists())).free / 1e6


def _find_cause(error: BaseException) -> str:
    """The first thing that went wrong, on one line."""
    if isinstance(error, CheckpointException):
        error = next(iter(error.failures.values()))[0]
    first = error
    while first.__context__ and not isinstance(first, OSError):
        first = first.__context__
    return one_line(first if isinstance(first, OSError) else error)  # later errors follow from the first
