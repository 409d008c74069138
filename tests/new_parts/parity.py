"""A labelled source: strings of bits, and whether their ones are even or odd."""

from collections.abc import Iterator
from functools import partial
from random import Random

from triad.data.sources.source import Document, Labelled, Split


def parity(length: int, documents: int) -> Labelled:
    """So many strings of bits, a fifth of them for validation."""
    return Labelled("parity", partial(_bits, length, documents))


def _bits(length: int, documents: int, split: Split) -> Iterator[Document]:
    draw = Random(split)
    for index in range(documents if split == "train" else documents // 5):
        bits = [draw.randint(0, 1) for _ in range(length)]
        yield Document(f"{index}", "".join(map(str, bits)), "odd" if sum(bits) % 2 else "even")
