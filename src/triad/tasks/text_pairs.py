"""Rows of two texts: separator, first, separator, second."""

from collections.abc import Sequence
from typing import Any


def find_separator(tokenizer: Any, model_sees: str) -> int | None:
    """The token that stands before each text of a row: what ends a document, else the mask of an encoder."""
    if tokenizer.separator is not None or model_sees != "both sides":
        return tokenizer.separator
    return tokenizer.vocab_size


def make_separator(tokenizer: Any) -> tuple[int, int]:
    """The token that stands before each text of a row, for a task of two texts, and how many it adds."""
    if tokenizer.separator is not None:
        return tokenizer.separator, 0
    return tokenizer.vocab_size, 1


def join(first: Sequence[int], second: Sequence[int], separator: int, context: int) -> list[int]:
    """A row of at most `context` tokens; of the longer text the end is left out.

    Devlin et al. 2018 (BERT), arXiv:1810.04805, section 4.1, after its published code. Deviates: a tokenizer
    has one separator, which also stands in the place of [CLS], and none stands at the end.
    """
    room = max(context - 2, 0)
    second = second[: max(room - len(first), room // 2)]
    return [separator, *first[: room - len(second)], separator, *second]
