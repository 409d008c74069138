"""Examples of a kind of their own: additions and their results."""

from collections.abc import Iterator
from functools import partial
from random import Random

from triad.data.sources.examples import Examples
from triad.data.sources.source import Document, Split


class Equations(Examples):
    """Two numbers and their sum."""

    yields = "equations"
    text_of = ("question", "result")


def equations(largest: int, documents: int) -> Equations:
    """So many additions of numbers up to `largest`, a fifth of them for validation."""
    return Equations("equations", partial(_add, largest, documents))


def _add(largest: int, documents: int, split: Split) -> Iterator[Document]:
    draw = Random(split)
    for index in range(documents if split == "train" else documents // 5):
        first, second = draw.randint(0, largest), draw.randint(0, largest)
        example = {"question": f"{first}+{second}=", "result": f"{first + second}"}
        yield Equations.describe(f"{index}", example)
