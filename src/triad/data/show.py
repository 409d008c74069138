"""The rows of a training batch, with their documents, for people to read."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from triad.data.mixed_rows import MixedRows
from triad.data.packing import NOTHING, RowReader
from triad.data.token_files import TokenFile
from triad.data.tokenizers.tokenizer import Tokenizer


class Row(NamedTuple):
    """A row of a batch: the document it begins in, how far into it, and the beginning of its text.

    `source` is that of a mixture, or "".
    """

    row: int
    source: str
    document: str
    token_offset: int
    byte_offset: int
    preview: str


def describe_batch(
    files: Mapping[str, TokenFile],
    tokenizer: Tokenizer,
    rows: RowReader,
    batch_rows: Callable[[int], int],
    first_row: Callable[[int], int],
    seed: int,
    step: int,
    preview_tokens: int = 24,
) -> list[Row]:
    """The rows of the batch of `step`, over all ranks; `files` by the source of a mixture, else by ""."""
    numbers = range(first_row(step), first_row(step) + batch_rows(step))
    places = rows.locate(np.array(numbers), seed)
    firsts, tokens_BT = rows.find_firsts(places), rows.read(places)["tokens_BT"].numpy()
    sources = rows.find_sources(places) if isinstance(rows, MixedRows) else [""] * len(places)
    described = []
    for number, source, start, row_T in zip(numbers, sources, firsts.tolist(), tokens_BT, strict=True):
        document, first, offset = files[source].document_at(start)
        byte_offset = int(tokenizer.byte_lengths[files[source].tokens[first:start]].sum())
        preview = tokenizer.decode(row_T[row_T != NOTHING][:preview_tokens])
        described.append(Row(number, source, document, offset, byte_offset, preview))
    return described
