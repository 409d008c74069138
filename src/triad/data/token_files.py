"""Text made into files of token ids, once; every run maps them into memory.

tokens-<hash>/train.bin              ids, uint16 or uint32, document after document
              train.documents.bin    int64 [documents, 2]: first token, place of its name in the next file
              train.names.jsonl      one name a line
              train.labels.bin       int32 [documents], where they have labels: the place among the labels
              val.bin ...            the same for validation
              manifest.json          sizes, checksums and what `_build` returns
"""

import json
import mmap
import sys
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from triad.data.compression import Compression
from triad.data.progress import show_progress
from triad.data.sources.malformed import describe_skipped
from triad.data.sources.source import Source, Split
from triad.data.tokenizers.tokenizer import Tokenizer
from triad.storage.cache import build_once
from triad.storage.manifest import Facts, fingerprint

FORMAT = 1


class Place(NamedTuple):
    """Where a token stands: the document, its first token, and how many tokens further."""

    name: str
    first: int
    offset: int


@dataclass(frozen=True)
class TokenFile:
    """The tokens of one split; `bytes` is the UTF-8 size of the text they came from."""

    folder: Path
    split: Split
    dtype: str
    bytes: int

    @cached_property
    def tokens(self) -> np.ndarray:
        """Ids, mapped; training reads rows anywhere in them, for which the system is not to read ahead.

        A batch of 32 rows out of 10 GB took 11.9 ms of CPU with reading ahead, 0.7 ms without (2026-11-29).
        """
        if self.split == "val":
            return np.memmap(self.folder / "val.bin", self.dtype, mode="r")
        with (self.folder / f"{self.split}.bin").open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        mapped.madvise(mmap.MADV_RANDOM)
        return np.frombuffer(mapped, self.dtype)

    @cached_property
    def documents(self) -> np.ndarray:
        """For each document its first token and the place of its name."""
        return np.memmap(self.folder / f"{self.split}.documents.bin", np.int64, mode="r").reshape(-1, 2)

    @cached_property
    def labels(self) -> np.ndarray:
        """For each document of a labelled source the number of its label."""
        return np.fromfile(self.folder / f"{self.split}.labels.bin", np.int32)

    @property
    def size(self) -> int:
        """Tokens, separators among them."""
        return len(self.tokens)

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of text for each token, separators counted among the tokens."""
        return self.bytes / self.size

    def document_at(self, position: int) -> Place:
        """The document that the token at `position` belongs to."""
        if not 0 <= position < len(self.tokens):
            raise ValueError(f"position={position}: the {self.split} split has {len(self.tokens)} tokens")
        first, name_at = self.documents[bisect_right(self.documents[:, 0], position) - 1].tolist()
        with (self.folder / f"{self.split}.names.jsonl").open("rb") as names:
            names.seek(name_at)
            return Place(json.loads(names.readline()), first, position - first)

    def count_documents(self, positions_N: np.ndarray) -> np.ndarray:
        """How many documents begin at each position or before it."""
        firsts = self.documents[:, 0]
        low_N, high_N = np.zeros_like(positions_N), np.full_like(positions_N, len(firsts))
        for _ in range(len(firsts).bit_length()):  # numpy's searchsorted would copy the column
            middle_N = (low_N + high_N) // 2
            before_N = firsts[np.minimum(middle_N, len(firsts) - 1)] <= positions_N
            left_N = low_N < high_N
            low_N = np.where(left_N & before_N, middle_N + 1, low_N)
            high_N = np.where(left_N & ~before_N, middle_N, high_N)
        return low_N

    def spans(self, documents_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First tokens of some documents, and the places behind their last."""
        firsts, next_N = self.documents[:, 0], documents_N + 1
        known_N = np.minimum(next_N, len(firsts) - 1)
        return firsts[documents_N], np.where(next_N < len(firsts), firsts[known_N], len(self.tokens))

    def __getstate__(self) -> dict[str, Any]:
        """Without the maps, which would travel to a DataLoader's worker as copies of the whole files."""
        return {key: value for key, value in self.__dict__.items() if key not in ("tokens", "documents")}


@dataclass(frozen=True)
class Tokens:
    """Both splits, and what `xz -9e` makes of the validation text, None where it is not text.

    `labels` are those of the training split in their order, none where the source has none.
    """

    train: TokenFile
    val: TokenFile
    fingerprint: str
    compression: Compression | None = field(compare=False)
    labels: tuple[str, ...] = ()

    @property
    def xz_bits_per_byte(self) -> float | None:
        """Bits per byte of `xz -9e`; the first to ask may wait for it."""
        return self.compression.bits_per_byte if self.compression else None

    @property
    def sources(self) -> dict[str, "Tokens"]:
        """Of a mixture the tokens of each source by its name; else these."""
        return {"": self}

    resumed = False  # whether a run goes on with more than it was begun with: a mixture may

    def resume(self, record: Any, step: int) -> "Tokens":
        """These tokens as a run goes on with them: the same, which `Run.pin` makes sure of."""
        return self


def prepare_tokens(source: Source, tokenizer: Tokenizer, cache: Path) -> Tokens:
    """Tokens of this text by this tokenizer, from the cache when they were made before."""
    contents = source.contents
    key = fingerprint(FORMAT, contents["train"][:2], contents["val"][:2], tokenizer.fingerprint)
    folder = cache / f"tokens-{key}"
    facts = build_once(folder, partial(_build, source, tokenizer))
    train, val = (TokenFile(folder, split, facts["dtype"], facts["bytes"][split]) for split in contents)
    compressed = cache / f"xz-{fingerprint(contents['val'][:2])}.json"
    text = partial(source.documents, "val")
    compression = Compression(text, val.bytes, compressed) if source.has_text else None
    return Tokens(train, val, key, compression, contents["train"].labels)


def _build(source: Source, tokenizer: Tokenizer, folder: Path) -> Facts:
    dtype = "uint16" if tokenizer.vocab_size <= 2**16 else "uint32"
    total = sum(contents.bytes for contents in source.contents.values())
    if files := len(source.files):
        read = f"read {files} file{'s' * (files > 1)}, {total / 1e6:.1f} MB"
        said = "; ".join(filter(None, (read, describe_skipped(source.skipped))))
        print(f"data={source.name}: {said}", file=sys.stderr)
    with show_progress(f"tokens of {source.name}", total) as advance:
        for split in ("train", "val"):
            _write(folder, split, source, tokenizer, dtype, advance)
    sizes = {split: source.count_bytes(split, tokenizer) for split in source.contents}
    return {"dtype": dtype, "bytes": sizes, "skipped": source.skipped}


def _write(
    folder: Path,
    split: Split,
    source: Source,
    tokenizer: Tokenizer,
    dtype: str,
    advance: Callable[[int], None],
) -> None:
    """Write the files of one split, one piece of a document in memory at a time."""
    number_of = {label: number for number, label in enumerate(source.contents["train"].labels)}
    labels = []
    first = 0
    with (
        (folder / f"{split}.bin").open("wb") as tokens,
        (folder / f"{split}.documents.bin").open("wb") as index,
        (folder / f"{split}.names.jsonl").open("wb") as names,
    ):
        for name, blocks, label in source.tokenize(split, tokenizer, advance):
            index.write(np.array([first, names.tell()], np.int64).tobytes())
            names.write(json.dumps(name).encode() + b"\n")
            for ids in blocks:
                tokens.write(ids.astype(dtype).tobytes())
                first += len(ids)
            if label in number_of:  # and not what else belongs to a document
                labels.append(number_of[label])
    if labels:
        np.array(labels, np.int32).tofile(folder / f"{split}.labels.bin")
