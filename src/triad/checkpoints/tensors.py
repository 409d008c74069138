"""Reading the tensors of a checkpoint, whatever layout wrote it and without executing anything it holds."""

import io
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, create_default_local_load_plan
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, StorageMeta, TensorStorageMetadata
from torch.distributed.checkpoint.planner import LoadPlan

from triad.checkpoints.folder import INDEX, find_validated, keep_while_reading
from triad.config.errors import one_line
from triad.strategies import state as portable
from triad.strategies.state import FlatSlice

Shapes = Mapping[str, tuple[int, ...]]
Entry = tuple[tuple[int, ...], torch.dtype]  # shape and type

# All that a .metadata file is made of: dataclasses and enums of these modules, and what describes a tensor.
# Not BytesStorageMetadata, which would have torch unpickle whatever lies there: ours are tensors only.
PLAIN = ("torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.filesystem")
BODY = "body."  # of names of a model that another one wraps
NAMES = {
    "Metadata",
    "MetadataIndex",
    "TensorStorageMetadata",
    "ChunkStorageMetadata",
    "TensorProperties",
    "StorageMeta",
    "_MEM_FORMAT_ENCODING",
    "_StorageInfo",
}
DESCRIBING = {
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("collections", "OrderedDict"),
}


class IndexUnpickler(pickle.Unpickler):
    """Unpickle a .metadata file, and nothing that could do anything but describe tensors."""

    def find_class(self, module: str, name: str) -> Any:
        known = (module in PLAIN and name in NAMES) or (module, name) in DESCRIBING
        if known or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)):
            return super().find_class(module, name)
        if module.startswith("pathlib"):  # where it was written
            return PurePosixPath
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no checkpoint needs")


class Reader(dcp.FileSystemReader):
    """torch's reader, which loads tensors as weights only, with an index that is read as safely."""

    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        metadata = IndexUnpickler(io.BytesIO(Path(self.path, INDEX).read_bytes())).load()
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class ShardPlanner(DefaultLoadPlanner):
    """torch's planner, for a flat dictionary of tensors and stretches of them, all of which have storage."""

    def set_up_planner(
        self, state_dict: dict, metadata: Metadata | None = None, is_coordinator: bool = False
    ) -> None:
        self.state_dict, self.metadata, self.is_coordinator = state_dict, metadata, is_coordinator

    def create_local_plan(self) -> LoadPlan:
        assert self.metadata is not None
        return create_default_local_load_plan(self.state_dict, self.metadata, strict=True)

    def lookup_tensor(self, index: MetadataIndex) -> Tensor:
        held = self.state_dict[index.fqn]
        return (
            held.__get_tensor_shard__(index) if isinstance(held, FlatSlice) else super().lookup_tensor(index)
        )


def load_tensors(path: Path, tensors: Mapping[str, Mapping[str, Any]]) -> None:
    """Fill tensors in place; each process reads what it holds. Raises ValueError if some are not there."""
    flat = flatten(tensors)
    try:
        with keep_while_reading(path), warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*torch.distributed is disabled.*")  # one process, as asked
            alone = not dist.is_initialized()
            dcp.load(flat, storage_reader=Reader(path), planner=ShardPlanner(), no_dist=alone)
    except BaseException as error:  # torch's CheckpointException is not an Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise ValueError(f"{path} cannot be loaded: {str(error).splitlines()[-1].strip()}") from error


def flatten(tensors: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What is kept, by kind and name: model.<name>, optimizer.<name>, ema.<name>."""
    return {f"{kind}.{name}": value for kind, values in tensors.items() for name, value in values.items()}


def load_model(path: Path, model: nn.Module, weights: str | None = None) -> None:
    """Fill a model with a set of a checkpoint's weights, such as `ema`; null: those that are validated."""
    load_tensors(path, {weights or find_validated(path): portable.weights(model)})


def read_shapes(model: nn.Module) -> Shapes:
    """What a single-device model holds, by name."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def find_misfit(path: Path, model: Shapes) -> str:
    """Why the weights of a checkpoint are not those of a single-device model, or ""."""
    try:
        held = {name: shape for name, (shape, _) in _entries(path, "model").items()}
    except ValueError as error:
        return str(error)
    for name in sorted(held.keys() | model.keys()):
        if held.get(name) != model.get(name):
            there, here = held.get(name, "nothing"), model.get(name, "none")
            return f"it is of another model ({name} is {there} there, {here} here)"
    return ""


def start_from(path: Path, model: nn.Module, bare: nn.Module) -> None:
    """Fill a model, in whatever layout. Raises ValueError for weights other than those of the `bare` one."""
    if wrong := find_misfit(path, read_shapes(bare)):
        raise ValueError(f"weights={path}: {wrong}")
    load_model(path, model)


def start_part_from(
    path: Path, part: nn.Module, bare: nn.Module, absent: tuple[str, ...], unused: tuple[str, ...]
) -> None:
    """Fill a part of a model, in whatever layout, with the weights of a whole one.

    A model of another task may have this one, or this one another, as its `body`: names are compared without
    that prefix. Names that begin with one of `absent` may be missing there and then stay as they are; those
    of `unused` may be missing here. Raises ValueError for any other difference from the `bare` part.
    """
    there = {name.removeprefix(BODY): name for name in read_entries(path)}
    held = {name.removeprefix(BODY): shape for name, (shape, _) in read_entries(path).items()}
    here = {name.removeprefix(BODY): shape for name, shape in read_shapes(bare).items()}
    for name in sorted(held.keys() | here.keys()):
        left_out = name.startswith(unused if name not in here else absent if name not in held else ())
        if held.get(name) != here.get(name) and not left_out:
            theirs, ours = held.get(name, "nothing"), here.get(name, "none")
            raise ValueError(
                f"weights={path}: it is of another model ({name} is {theirs} there, {ours} here)"
            )
    common = {
        there[name.removeprefix(BODY)]: tensor
        for name, tensor in part.state_dict().items()
        if name.removeprefix(BODY) in held
    }
    load_tensors(path, {find_validated(path): common})


def read_weights(path: Path, kind: str = "model") -> dict[str, Tensor]:
    """One set of a checkpoint's weights, whole, by name. Raises ValueError if it holds no such set."""
    entries = read_entries(path, kind)
    tensors = {name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in entries.items()}
    load_tensors(path, {kind: tensors})
    return tensors


def read_entries(path: Path, kind: str = "model") -> dict[str, Entry]:
    """Shape and type of one set of a checkpoint's weights, by name. Raises ValueError if it is not there."""
    try:
        return _entries(path, kind)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _entries(path: Path, kind: str) -> dict[str, Entry]:
    held = read_index(path)
    found = {
        name.removeprefix(f"{kind}."): entry for name, entry in held.items() if name.startswith(f"{kind}.")
    }
    if not found:
        sets = sorted({name.partition(".")[0] for name in held} - {"optimizer"})
        raise ValueError(f"it holds no weights={kind}, only {', '.join(sets)}")
    return found


def read_index(path: Path) -> dict[str, Entry]:
    """Shape and type of all that a checkpoint holds, by name. Raises ValueError if its index is not sound."""
    try:
        held = Reader(path).read_metadata().state_dict_metadata
        return {
            name: (tuple(entry.size), entry.properties.dtype)
            for name, entry in held.items()
            if isinstance(entry, TensorStorageMetadata)
        }
    except Exception as error:  # whatever a damaged pickle may bring about
        raise ValueError(f"{INDEX} cannot be read ({one_line(error)})") from error
