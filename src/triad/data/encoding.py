"""Documents made into tokens, in their order: several short ones at once, each by a thread."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from triad.data.local_processes import count_cores

AHEAD = 4  # groups of documents that are encoded before they are asked for
SHORT = 1 << 14  # characters of a group
Encoded = Callable[[], Iterable[Iterable[np.ndarray]]]  # the ids of some documents, each in pieces


def encode_documents(
    documents: Iterable[Any], tokenizer: Any, count: Callable[[Iterable[str]], Iterable[str]]
) -> Iterator[tuple[Any, Iterable[np.ndarray]]]:
    """Each document with its ids, without separator; its pieces are read through `count`, in their order."""

    def encode(together: list[Any]) -> Encoded:
        if is_short(together[0]):
            return pool.submit(_encode_all, tokenizer, [[*count(one.pieces)] for one in together]).result
        return lambda: [tokenizer.encode_pieces(count(one.pieces)) for one in together]

    with ThreadPoolExecutor(count_cores()) as pool:
        for together, get_ids in _begin_ahead(_group(documents), encode):
            yield from zip(together, get_ids(), strict=True)


def is_short(document: Any) -> bool:
    """Whether a document is held whole and may be encoded beside others."""
    return isinstance(document.pieces, tuple) and sum(map(len, document.pieces)) <= SHORT


def _group(documents: Iterable[Any]) -> Iterator[list[Any]]:
    """Short documents in lists of some SHORT characters, a longer one alone."""
    held: list[Any] = []
    length = 0
    for document in documents:
        if not is_short(document):
            yield from filter(None, (held, [document]))
            held, length = [], 0
            continue
        held.append(document)
        if (length := length + sum(map(len, document.pieces))) > SHORT:
            yield held
            held, length = [], 0
    if held:
        yield held


def _begin_ahead(
    groups: Iterable[list[Any]], encode: Callable[[list[Any]], Encoded]
) -> Iterator[tuple[list[Any], Encoded]]:
    """Groups in their order, each with what is begun of it: of short documents several beforehand."""
    begun: deque[tuple[list[Any], Encoded]] = deque()
    for group in groups:
        begun.append((group, encode(group)))
        while begun and (len(begun) > AHEAD or not is_short(group[0])):
            yield begun.popleft()
    yield from begun


def _encode_all(tokenizer: Any, texts: list[list[str]]) -> list[list[np.ndarray]]:
    return [[*tokenizer.encode_pieces(pieces)] for pieces in texts]
