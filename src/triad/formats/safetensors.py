"""The safetensors format."""

import json
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import IO, Any

from triad.storage.durable import replace, replacing


def save(path: Path, weights: str, folder: Path, stem: str, largest_bytes: int) -> list[Path]:
    """Create and memory-map each file, then load the checkpoint directly into it.

    Not safetensors' own save_file, which needs all tensors of a file in memory.
    """
    from triad.checkpoints.tensors import load_tensors, read_entries

    held = read_entries(path, weights)
    groups = _split({name: _bytes(*entry) for name, entry in held.items()}, largest_bytes)
    names = [f"{stem}.safetensors"]
    if len(groups) > 1:
        names = [f"{stem}-{n:05d}-of-{len(groups):05d}.safetensors" for n in range(1, len(groups) + 1)]
    files = [folder / name for name in names]
    with ExitStack() as together:  # all files appear when the last is complete
        for file, group in zip(files, groups, strict=True):
            stream = together.enter_context(replacing(file))
            load_tensors(path, {weights: _map_file(stream, {name: held[name] for name in group})})
    if len(files) == 1:
        return files
    index = {name: file.name for file, group in zip(files, groups, strict=True) for name in group}
    total = sum(_bytes(*entry) for entry in held.values())
    content = {"metadata": {"total_size": total}, "weight_map": index}
    replace(folder / f"{stem}.safetensors.index.json", json.dumps(content, indent=2) + "\n")
    return [*files, folder / f"{stem}.safetensors.index.json"]


def _split(sizes: dict[str, int], largest_bytes: int) -> list[list[str]]:
    """Groups of consecutive names with at most `largest_bytes` together; a larger one is alone."""
    groups: list[list[str]] = [[]]
    for name, size in sizes.items():
        if groups[-1] and sum(sizes[other] for other in groups[-1]) + size > largest_bytes:
            groups.append([])
        groups[-1].append(name)
    return groups


def _map_file(stream: IO[bytes], held: dict[str, tuple[tuple[int, ...], Any]]) -> dict[str, Any]:
    """Write a safetensors file of zeros; return tensors that are mapped to its content.

    Eight bytes with the length of the header; the header, JSON that says type, shape and place of each
    tensor, padded so that what follows is aligned; the tensors      https://huggingface.co/docs/safetensors
    """
    import torch

    held = dict(sorted(held.items(), key=lambda item: -item[1][1].itemsize))  # so that each is aligned
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (shape, dtype) in held.items():
        begin, end = end, end + _bytes(shape, dtype)
        header[name] = {"dtype": NAMES[str(dtype)], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    stream.write(len(text).to_bytes(8, "little") + text)
    stream.truncate(8 + len(text) + end)  # flushes, too
    whole = torch.from_file(stream.name, shared=True, size=8 + len(text) + end, dtype=torch.uint8)
    return {
        name: whole[8 + len(text) :][slice(*header[name]["data_offsets"])].view(dtype).view(shape)
        for name, (shape, dtype) in held.items()
    }


NAMES = {
    "torch.float64": "F64",
    "torch.float32": "F32",
    "torch.bfloat16": "BF16",
    "torch.float16": "F16",
    "torch.int64": "I64",
    "torch.int32": "I32",
    "torch.uint8": "U8",
    "torch.bool": "BOOL",
}


def _bytes(shape: tuple[int, ...], dtype: Any) -> int:
    return prod(shape) * dtype.itemsize
