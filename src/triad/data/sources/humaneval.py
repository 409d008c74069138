"""HumanEval."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from triad.data.sources.programs import Programs, programs
from triad.data.sources.published import Published
from triad.data.sources.source import Document, Reader, Split


def humaneval(path: str | None, licence: str, address: str, files: list[list]) -> Programs:
    """164 problems of Python with their tests, which are a test split only: nothing is to be trained on them.

    Chen et al. 2021, arXiv:2107.03374.
    """
    file = Published("humaneval", path, address, files).find("HumanEval.jsonl")
    found = programs(file, None, 0.1, None, max_bytes=None, on_error="raise", licence=licence)
    every = partial(_read_all, found.read)
    return replace(found, name="humaneval", read=read_nothing, read_test=every)


def _read_all(read: Reader, split: Split) -> Iterator[Document]:
    yield from read("train")
    yield from read("val")


def read_nothing(split: Split) -> Iterator[Document]:
    return iter(())
