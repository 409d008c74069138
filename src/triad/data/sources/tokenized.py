"""Text that is tokenised already: files of token ids, used as they are."""

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from triad.data.sources.malformed import Skipped
from triad.data.sources.opening import Quota, TextFile
from triad.data.sources.source import Contents, Document, Split, Text, TokenizedText
from triad.data.sources.splits import find_splits, is_in_split

AT_ONCE = 1 << 20  # tokens
MAGIC = b"MMIDIDX\0\0"
HEADER = np.dtype([("version", "<u8"), ("dtype", "u1"), ("sequences", "<u8"), ("documents", "<u8")])
DTYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}  # by their code: megatron's DType
WITH_HEADER = 20240520  # how a .bin of llm.c begins, which has a header
Place = tuple[TextFile, Path | None]  # a .bin, and its .idx if it has one


class Span(NamedTuple):
    """A document: tokens `begin` to `end` of a .bin, which holds this type."""

    name: str
    path: Path
    dtype: str
    begin: int
    end: int

    def read(self) -> Iterator[tuple[int, np.ndarray]]:
        """Blocks of tokens, each with the place of its first."""
        tokens = np.memmap(self.path, self.dtype, mode="r")
        for begin in range(self.begin, self.end, AT_ONCE):
            yield begin, tokens[begin : min(begin + AT_ONCE, self.end)]

    def hash(self) -> str:
        """Of the tokens, whatever type holds them."""
        digest = hashlib.blake2b(digest_size=16)
        for _, ids in self.read():
            digest.update(ids.astype("<i8").tobytes())
        return digest.hexdigest()


class TokenIds(Text):
    """Documents of token ids. The tokenizer is the one that they were made with, and learns nothing here."""

    yields = "text"
    has_text = False

    def stream(self, split: Split) -> Iterator[Document]:
        raise ValueError(
            f"data={self.name}: the files hold tokens and no text, which a tokenizer would learn from and "
            "which is cleaned, masked and deduplicated; give the tokenizer that made the tokens, and do the "
            "rest before"
        )

    def tokenize(
        self, split: Split, tokenizer: Any, advance: Callable[[int], None]
    ) -> Iterator[TokenizedText]:
        """The tokens as they are. Raises ValueError for one that the tokenizer does not have."""
        for span in self.read(split):
            yield TokenizedText(span.name, _check_ids(span, len(tokenizer.byte_lengths), advance), "")

    def count_bytes(self, split: Split, tokenizer: Any) -> int:
        """Bytes that the tokenizer makes of the tokens."""
        lengths = tokenizer.byte_lengths
        return sum(int(lengths[ids].sum()) for span in self.read(split) for _, ids in span.read())

    def _describe(self, split: Split) -> Contents:
        digest, size, number = hashlib.blake2b(digest_size=16), 0, 0
        for span in self.read(split):
            digest.update(json.dumps([span.name, span.hash()]).encode())
            size += (span.end - span.begin) * np.dtype(span.dtype).itemsize
            number += 1
        if not number:
            raise ValueError(
                f"data={self.name}: the {split} split has no tokens; give data.val_path or more documents"
            )
        return Contents(digest.hexdigest(), size, (), number)


def tokenized(
    path: str | list[str],
    val_path: str | list[str] | None,
    val_fraction: float,
    dtype: Literal["uint16", "uint32"],
    licence: str | None = None,
) -> TokenIds:
    """Tokens of Megatron's .bin with its .idx beside it, or of nanoGPT's .bin of this `dtype`.

    Shoeybi et al. 2019, arXiv:1909.08053 (megatron/core/datasets/indexed_dataset.py); Karpathy 2022,
    https://github.com/karpathy/nanoGPT. Documents are those of the .idx; a .bin without one is a document.
    No separator is added. Without `val_path` documents are divided by the hash of their tokens, and a single
    .bin without .idx is cut by position. Raises ValueError for files that are not of these formats, and for
    tokens beyond the vocabulary of `tokenizer=`.
    """
    files = find_splits(path, val_path, val_fraction, Quota(), Skipped())
    places = {
        split: [_find_index(file) for file in found if file.kind != ".idx"] for split, found in files.items()
    }
    for place in (place for found in places.values() for place in found):
        find_spans(*place, dtype)
    return TokenIds("tokenized", partial(_read_spans, places, dtype, val_fraction), licence)


def _find_index(file: TextFile) -> Place:
    if file.kind != ".bin":
        raise ValueError(f"{file.path}: neither .bin nor .idx, of Megatron or nanoGPT; name such files alone")
    index = file.path.with_suffix(".idx")
    return file, index if index.is_file() else None


def _read_spans(
    places: dict[Split, list[Place]], dtype: str, fraction: float, split: Split
) -> Iterator[Span]:
    found = places.get(split, places["train"])
    if "val" not in places and [index for _, index in found] == [None]:
        (whole,) = find_spans(*found[0], dtype)
        cut = int(whole.end * (1 - fraction))
        yield whole._replace(end=cut) if split == "train" else whole._replace(begin=cut)
        return
    for place in found:
        for span in find_spans(*place, dtype):
            if "val" in places or is_in_split(span.hash(), fraction, split):
                yield span


def find_spans(file: TextFile, index: Path | None, dtype: str) -> Iterator[Span]:
    """The documents of a .bin. Raises ValueError for one that is damaged."""
    if index:
        return _read_index(file, index)
    size, width = file.path.stat().st_size, np.dtype(dtype).itemsize
    if size % width or not size:
        raise ValueError(f"{file.path}: {size:,} bytes are no tokens of data.dtype={dtype}; is it cut off?")
    if np.fromfile(file.path, "<u2", 2).tobytes() == WITH_HEADER.to_bytes(4, "little"):
        raise ValueError(
            f"{file.path}: begins with llm.c's header; take it off: tail -c +1025 {file.path.name}"
        )
    return iter([Span(file.name, file.path, dtype, 0, size // width)])


def _read_index(file: TextFile, index: Path) -> Iterator[Span]:
    """The documents of Megatron's .idx: MAGIC and HEADER, then of each sequence its length and the byte that
    it begins at, then of each document its first sequence, and the number of sequences."""
    begun = len(MAGIC) + HEADER.itemsize
    with index.open("rb") as opened:
        head = opened.read(begun)
    if len(head) < begun or not head.startswith(MAGIC):
        raise ValueError(f"{index}: no index of Megatron, which begins with MMIDIDX; is it damaged?")
    version, code, sequences, documents = np.frombuffer(head[len(MAGIC) :], HEADER)[0].tolist()
    if version != 1 or code not in DTYPES:
        raise ValueError(f"{index}: version {version} with type {code}; version 1 with whole numbers is read")
    size, least = index.stat().st_size, begun + 12 * sequences + 8 * documents
    if size not in (least, least + sequences):  # with a mode for each sequence
        raise ValueError(
            f"{index}: {size:,} bytes, where {sequences:,} sequences take {least:,}; is it cut off?"
        )
    if documents < 2 or not sequences:
        raise ValueError(f"{file.path}: its .idx has no document; leave it out")
    lengths = np.memmap(index, "<i4", "r", begun, (sequences,))
    starts = np.memmap(index, "<i8", "r", begun + 4 * sequences, (sequences,))
    firsts = np.memmap(index, "<i8", "r", begun + 12 * sequences, (documents,))
    dtype = DTYPES[code]
    total = _check_starts(lengths, starts, np.dtype(dtype).itemsize)
    if (
        total != file.path.stat().st_size
        or firsts[0]
        or firsts[-1] != sequences
        or (np.diff(firsts) < 0).any()
    ):
        raise ValueError(f"{file.path}: not the tokens that {index.name} describes; are both complete?")
    ends = (starts[first] if first < sequences else total for first in firsts)
    return _make_spans(file, dtype, (int(end) // np.dtype(dtype).itemsize for end in ends))


def _check_starts(lengths: np.ndarray, starts: np.ndarray, width: int) -> int:
    """The bytes of all sequences; -1 where they do not follow one another."""
    end = 0
    for at in range(0, len(lengths), AT_ONCE):
        ends = end + np.cumsum(lengths[at : at + AT_ONCE], dtype=np.int64) * width
        if starts[at] != end or (starts[at + 1 : at + AT_ONCE] != ends[:-1]).any():
            return -1
        end = int(ends[-1])
    return end


def _make_spans(file: TextFile, dtype: str, bounds: Iterator[int]) -> Iterator[Span]:
    for number, (begin, end) in enumerate(pairwise(bounds), 1):
        if begin < end:
            yield Span(f"{file.name}:{number}", file.path, dtype, begin, end)


def _check_ids(span: Span, vocab_size: int, advance: Callable[[int], None]) -> Iterator[np.ndarray]:
    for begin, ids in span.read():
        if (wrong := (ids < 0) | (ids >= vocab_size)).any():
            at = int(np.argmax(wrong))
            raise ValueError(
                f"{span.path}: token {ids[at]} at position {begin + at}, where the tokenizer has "
                f"{vocab_size}; give the one that made the tokens with tokenizer="
            )
        advance(ids.nbytes)
        yield ids
