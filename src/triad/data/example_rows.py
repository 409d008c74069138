"""Rows that a task makes of examples: once, as flat files that every run maps into memory.

rows-<hash>/train.tokens_BT.bin        int32, the lists of all rows, one behind the other
            train.tokens_BT.ends.bin   int64 [N + 1], where they end; the first is 0
            train.labels_B.bin         int32 [N], where there is one number a row
            train.targets.bin          int32 [N], how many real targets each row has
            val.tokens_BT.bin ...      the same for validation
            manifest.json              names of the lists and numbers, rows, and what was cut or left out

The hash is of the examples, the tokenizer, the task with its arguments and what the model sees, the code
that makes rows, and the context.

N rows, R rows of the batch, B of them on this rank.
"""

import sys
from collections import Counter
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from triad.data.packing import IGNORED, NOTHING
from triad.data.pairs import pad_rows
from triad.data.progress import show_progress
from triad.data.shuffle import shuffle_rows
from triad.data.sources.source import Source, Split
from triad.storage.cache import build_once, cache_home
from triad.storage.manifest import Facts, checksum, fingerprint

FORMAT = 1
SPLITS: tuple[Split, ...] = ("train", "val")
CODE = ("tasks/*.py", "data/*.py")
CUT = "cut"  # of a row that a task makes: how many tokens it left out of it
AS_THEY_ARE = ("text", "pairs", "labels")  # kinds whose token files have rows of their own


def makes_rows(source: Source, task: Any) -> bool:
    """Whether rows are what a task makes of examples, and not what stands in a token file."""
    of_task = source.yields not in AS_THEY_ARE or source.yields in getattr(task, "makes_rows", ())
    return task is not None and of_task


class ExampleRows:
    """The rows of a split, shuffled, always alike: some batches may be all that is validated.

    A batch has each list and number by its name. Lists whose names end alike (tokens_BT, targets_BT) are as
    wide as the longest of them and padded with NOTHING, those of targets and labels with IGNORED. Lists whose
    names begin with `character` are of a text and not of tokens: they have no part in lengths.
    """

    called = "rows"

    def __init__(self, built: Path, split: Split, lists: list[str], numbers: list[str]) -> None:
        self.built, self.split, self.lists, self.numbers = built, split, lists, numbers
        self.folder = built.with_name(f"{built.name}-{split}-by_length")

    def __len__(self) -> int:
        return len(self._map("targets"))

    def find_lengths(self, rows_R: np.ndarray) -> np.ndarray:
        place_R, real_R = self._find(rows_R)
        lists = filter(_is_of_tokens, self.lists)
        return np.stack([self._find_span(name, place_R, real_R)[1] for name in lists]).max(0)

    def batch(self, rows_R: np.ndarray, rank: int, ranks: int) -> dict[str, Any]:
        """This rank's share of some rows; rows, count and lengths are those of all."""
        place_R, real_R = self._find(rows_R)
        share = len(rows_R) // ranks
        mine = slice(rank * share, (rank + 1) * share)
        spans = {name: self._find_span(name, place_R, real_R) for name in self.lists}
        widths: dict[str, int] = {}
        for name, (_, length_R) in spans.items():
            widths[_get_shape(name)] = max(widths.get(_get_shape(name), 0), int(length_R.max()))
        batch: dict[str, Any] = {}
        for name, (first_R, length_R) in spans.items():
            wide = widths[_get_shape(name)]
            rows = pad_rows(self._map(name), first_R[mine], length_R[mine], wide, get_padding(name))
            batch[name] = torch.from_numpy(rows)
        for name in self.numbers:
            number_B = np.where(real_R, self._map(name)[place_R], get_padding(name))[mine]
            batch[name] = torch.from_numpy(number_B.astype(np.int64))
        batch |= {"rows": int(real_R.sum()), "count": int(self._map("targets")[place_R][real_R].sum())}
        for key, is_source in (("lengths_R", False), ("source_lengths_R", True)):
            tokens = filter(_is_of_tokens, spans)
            if found := [spans[name][1] for name in tokens if name.startswith("source") == is_source]:
                batch[key] = torch.from_numpy(np.stack(found).max(0))
        return batch

    def _find(self, rows_R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where each row stands in the files, and whether it is one."""
        return shuffle_rows(np.maximum(rows_R, 0), len(self), seed=0), rows_R != NOTHING

    def _find_span(self, name: str, place_R: np.ndarray, real_R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First values and lengths of a list; the length is 0 where there is no row."""
        ends = self._map(f"{name}.ends")
        first_R = ends[place_R]
        return first_R, np.where(real_R, ends[place_R + 1] - first_R, 0)

    def _map(self, name: str) -> np.ndarray:
        return _map_file(self.built / f"{self.split}.{name}.bin")


@cache
def _map_file(path: Path) -> np.ndarray:
    dtype = np.int64 if path.name.endswith(".ends.bin") else np.int32
    return np.memmap(path, dtype, "r") if path.stat().st_size else np.empty(0, dtype)


def _get_shape(name: str) -> str:
    return name.rpartition("_")[2]


def _is_target(name: str) -> bool:
    return name.startswith(("targets", "labels"))


def _is_of_tokens(name: str) -> bool:
    return not name.startswith("character")


def get_padding(name: str) -> int:
    """What stands behind the end of a list of a row."""
    return IGNORED if _is_target(name) else NOTHING


def prepare_rows(
    source: Source, text: str, task: Any, asked: dict[str, Any], context: int
) -> tuple[ExampleRows, ExampleRows]:
    """The rows of training and of validation, from the cache when they were made before.

    `text` is the fingerprint of the examples and their tokenizer, `asked` all that tells the task from
    another one; a task whose rows follow from other files, too, says so by `contents`.
    """
    root = Path(__file__).parents[1]
    code = [checksum(path) for pattern in CODE for path in sorted(root.glob(pattern))]
    key = fingerprint(FORMAT, text, asked, getattr(task, "contents", None), context, code)
    folder = cache_home() / f"rows-{key}"
    facts = build_once(folder, partial(_build, source, task, context))
    train, val = (ExampleRows(folder, split, facts["lists"], facts["numbers"]) for split in SPLITS)
    return train, val


def _build(source: Source, task: Any, context: int, folder: Path) -> Facts:
    called, names = type(task).__name__, list[str]()
    facts: dict[str, Any] = {}
    total = sum(source.contents[split].bytes for split in SPLITS)
    with show_progress(f"rows of {source.name} for {called}", total) as advance:
        for split in SPLITS:
            size = (
                source.contents[split].bytes // source.contents[split].documents
            )  # of an example, on average
            with ExitStack() as stack:
                writer = RowWriter(folder, split, context, called, names, stack)
                for example in source.examples(split):
                    writer.write(task.encode(example))
                    advance(size)
            if not writer.counts["rows"]:
                raise ValueError(
                    f"data={source.name}: {called} makes no row of any example of the {split} split at "
                    f"context={context}; raise context or give others"
                )
            facts[split] = dict(writer.counts)
            if said := _describe_left_out(writer.counts, context):
                print(f"data={source.name}: of the {split} split {said}", file=sys.stderr)
    lists = [name for name in names if not name.endswith("_B")]
    return facts | {"lists": lists, "numbers": [name for name in names if name not in lists]}


def _describe_left_out(counts: Counter[str], context: int) -> str:
    """What was cut to fit the context or makes no row; "" where nothing was."""
    said = []
    if cut := counts["cut rows"]:
        said.append(f"{cut:,} of {counts['rows']:,} rows are cut to context={context}")
        said[0] += f", {counts['cut tokens']:,} tokens less"
    if left := counts["left out"]:
        said.append(f"{left:,} of {counts['examples']:,} examples make no row")
    return ", and ".join(said)


class RowWriter:
    """Writes the rows of one split, and counts them; the first row of all says which names there are."""

    def __init__(
        self, folder: Path, split: Split, context: int, task: str, names: list[str], stack: ExitStack
    ) -> None:
        self.folder, self.split, self.context, self.task, self.names = folder, split, context, task, names
        self.stack, self.files = stack, dict[str, Any]()
        self.ends: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Write the rows of one example."""
        self.counts["examples"] += 1
        self.counts["left out"] += not rows
        for row in rows:
            cut = row.get(CUT, 0)
            self.counts["rows"] += 1
            self.counts["cut rows"] += bool(cut)
            self.counts["cut tokens"] += cut
            self._write_row({name: value for name, value in row.items() if name != CUT})

    def _write_row(self, row: dict[str, Any]) -> None:
        if not self.names:
            self.names += row
        if {*row} != {*self.names}:
            raise ValueError(f"{self.task}.encode: rows of {sorted(self.names)}, and one of {sorted(row)}")
        longest, targets = 0, 0
        for name, value in row.items():
            values = np.atleast_1d(np.array(value, np.int32))
            self._open(name).write(values.tobytes())
            if not name.endswith("_B"):
                longest = max(longest, len(values) if _is_of_tokens(name) else 0)
                self.ends[name] += len(values)
                self._open(f"{name}.ends").write(np.int64(self.ends[name]).tobytes())
            if _is_target(name):
                targets += int((values != IGNORED).sum())
        if longest > self.context:
            raise ValueError(
                f"{self.task}.encode: a row of {longest} tokens at context={self.context}; it has to cut "
                "what is longer, or leave it out"
            )
        counted = targets if any(map(_is_target, row)) else longest
        self._open("targets").write(np.int32(counted).tobytes())

    def _open(self, name: str) -> Any:
        if name not in self.files:
            self.files[name] = self.stack.enter_context((self.folder / f"{self.split}.{name}.bin").open("wb"))
            if name.endswith(".ends"):
                self.files[name].write(np.int64(0).tobytes())
        return self.files[name]
