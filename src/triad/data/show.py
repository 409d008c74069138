"""The rows of a training batch, with their documents, for people to read."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from triad.data.packing import NOTHING, RowReader
from triad.data.token_files import TokenFile
from triad.data.tokenizers.tokenizer import Tokenizer


class Row(NamedTuple):
    """A row of a batch: the document it begins in, how far into it, and the beginning of its text."""

    row: int
    document: str
    token_offset: int
    byte_offset: int
    preview: str


def describe_batch(
    tokens: TokenFile,
    tokenizer: Tokenizer,
    rows: RowReader,
    batch_rows: Callable[[int], int],
    first_row: Callable[[int], int],
    seed: int,
    step: int,
    preview_tokens: int = 24,
) -> list[Row]:
    """The rows of the batch of `step`, over all ranks."""
    numbers = range(first_row(step), first_row(step) + batch_rows(step))
    places = rows.locate(np.array(numbers), seed)
    firsts, tokens_BT = rows.find_firsts(places), rows.read(places)["tokens_BT"].numpy()
    return [
        _describe_row(tokens, tokenizer, number, first, row_T[row_T != NOTHING][:preview_tokens])
        for number, first, row_T in zip(numbers, firsts.tolist(), tokens_BT, strict=True)
    ]


def _describe_row(tokens: TokenFile, tokenizer: Tokenizer, row: int, start: int, preview: np.ndarray) -> Row:
    name, first, offset = tokens.document_at(start)
    byte_offset = int(tokenizer.byte_lengths[tokens.tokens[first:start]].sum())
    return Row(row, name, offset, byte_offset, tokenizer.decode(preview))
