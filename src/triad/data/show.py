"""The rows of a training batch, with their documents, for people to read."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from triad.data.batches import locate_rows
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
    context: int,
    batch_rows: Callable[[int], int],
    first_row: Callable[[int], int],
    seed: int,
    step: int,
    packed: bool = True,
    preview_tokens: int = 24,
) -> list[Row]:
    """The rows of the batch of `step`, over all ranks."""
    rows = np.arange(first_row(step), first_row(step) + batch_rows(step))
    starts = locate_rows(tokens, rows, context, seed, packed).starts
    return [
        _describe_row(tokens, tokenizer, row, start, min(preview_tokens, context))
        for row, start in zip(rows.tolist(), starts.tolist(), strict=True)
    ]


def _describe_row(tokens: TokenFile, tokenizer: Tokenizer, row: int, start: int, length: int) -> Row:
    name, first, offset = tokens.document_at(start)
    byte_offset = int(tokenizer.byte_lengths[tokens.tokens[first:start]].sum())
    return Row(row, name, offset, byte_offset, tokenizer.decode(tokens.tokens[start : start + length]))
