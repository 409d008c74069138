"""Programs to be written, with tests, as HumanEval has them."""

from collections.abc import Iterator
from typing import Annotated

from triad.data.sources.examples import Paths, Programs, read_splits
from triad.data.sources.malformed import OnError
from triad.data.sources.opening import TextFile
from triad.data.sources.records import Record, get_part, read_objects
from triad.data.sources.source import Document

PARTS = ("task_id", "prompt", "canonical_solution", "test", "entry_point")


def programs(
    path: Paths,
    val_path: Paths | None,
    val_fraction: float,
    test_path: Paths | None,
    max_bytes: Annotated[int, ">= 1"] | None,
    on_error: OnError,
    licence: str | None = None,
) -> Programs:
    """Prompts, solutions and tests out of .jsonl or .json: Chen et al. 2021, arXiv:2107.03374, section 2.2.

    The tests define check(candidate), and the function that is asked for is called `entry_point`. Without
    `val_path` a hash of prompt and solution sends a program to training or validation. Raises ValueError,
    naming file and line, for an object that lacks a part, unless on_error=skip.
    """
    paths = path, val_path, test_path
    rest = val_fraction, max_bytes, on_error, licence
    return read_splits(Programs, "programs", _read_programs, paths, *rest)


def _read_programs(file: TextFile) -> Iterator[Document]:
    for _, program in read_objects(file, "programs", _get_program):
        yield Programs.describe(f"{file.name}:{program['task_id']}", program)


def _get_program(record: Record) -> dict[str, str]:
    return {part: get_part(record, part, f"a program has {', '.join(PARTS)}") for part in PARTS}
