"""Random letters, generated as they are read, for tasks in which the text does not matter."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated

import numpy as np

from triad.data.sources.source import Document, Split, Text

Count = Annotated[int, ">= 1"]
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
AT_ONCE = 1024  # documents


def letters(
    words: Count,
    shortest: Count,
    longest: Count,
    documents: Count,
    val_documents: Count,
) -> Text:
    """Documents of letters drawn evenly from the first `words`, their lengths from `shortest` to `longest`.

    Document i of a split is a pure function of split and i. Raises ValueError for other numbers than 1 to 62
    of words, and for lengths that are none.
    """
    if not 1 <= words <= len(LETTERS):
        raise ValueError(f"data.words={words}: from 1 to {len(LETTERS)} letters are known")
    if not 1 <= shortest <= longest:
        raise ValueError(f"data.shortest={shortest} data.longest={longest}: from 1 up, in this order")
    numbers: dict[Split, int] = {"train": documents, "val": val_documents}
    return Text("letters", partial(_draw_documents, words, shortest, longest, numbers))


def _draw_documents(
    words: int, shortest: int, longest: int, numbers: dict[Split, int], split: Split
) -> Iterator[Document]:
    known = np.array(list(LETTERS[:words]))
    for first in range(0, numbers[split], AT_ONCE):
        draw = np.random.default_rng([first, split == "val"])
        lengths = draw.integers(shortest, longest + 1, AT_ONCE)
        drawn = known[draw.integers(0, words, (AT_ONCE, longest))]
        for index in range(min(AT_ONCE, numbers[split] - first)):
            yield Document(f"{first + index}", "".join(drawn[index, : lengths[index]]))
