"""Where text comes from: a source streams the named documents of a training and of a validation split."""

import hashlib
import json
import math
import os
import reprlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from triad.data.sources.opening import Quota, TextFile
from triad.data.sources.reading import Pieces, read_pieces
from triad.data.sources.records import JSON, get_text, read_json
from triad.storage.cache import build_once, cache_home
from triad.storage.manifest import Facts, checksum, fingerprint

Split = Literal["train", "val"]


CODE = Path(__file__).parent  # what the documents of a file are is decided here
JUST_NOW_S = 2.0  # a file changed less long ago may change again within the resolution of its time


class Document(NamedTuple):
    """A named text: whole, or in pieces that can be read again, so that a large one is not held whole."""

    name: str
    pieces: Iterable[str]
    label: str = ""

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class Contents(NamedTuple):
    """What a split holds: a hash of its names, texts and labels, its size as UTF-8, its sorted labels."""

    fingerprint: str
    bytes: int
    labels: tuple[str, ...]
    documents: int


@dataclass(frozen=True)
class Source:
    """Documents by split, read anew at every call, so that memory does not grow with the corpus.

    The documents follow from the arguments of `read`, a functools.partial, and from the files that are among
    them as Path: what they come to is remembered until one of these changes. What a source yields is a
    literal of its class, which the function that makes it names as what it returns.
    """

    yields: ClassVar[Literal["text", "pairs", "labels"]]
    name: str
    read: Callable[[Split], Iterator[Document]]
    licence: str | None = None  # of the text, as it is written into the manifest of what is made of it

    def documents(self, split: Split) -> Iterator[Document]:
        """Stream the documents that have text; ValueError when there are none."""
        empty = True
        for document in self.read(split):
            whole = isinstance(document.pieces, str)
            pieces = (document.pieces,) if whole else document.pieces
            if any(pieces):
                empty = False
                yield document._replace(pieces=pieces)
        if empty:
            raise ValueError(
                f"data={self.name}: the {split} split has no text; give more documents, "
                "another data.val_fraction, or data.val_path"
            )

    @cached_property
    def contents(self) -> dict[Split, Contents]:
        """Fingerprint and size of both splits; reads all the text, unless its files are known from before."""
        if (origin := _describe_origin(self)) is None:
            return self._read_contents()

        def build(_: Path) -> Facts:
            contents = self._read_contents()
            if _describe_origin(self) != origin:
                raise ValueError(f"data={self.name}: the text changed while it was read; start again")
            return {**contents}

        kept = build_once(cache_home() / f"contents-{fingerprint(*origin)}", build)
        train, val = (Contents(*kept[split])._replace(labels=tuple(kept[split][2])) for split in kept)
        return {"train": train, "val": val}

    @property
    def files(self) -> list[tuple[str, Path]]:
        """The files that the documents come from, as far as that is known, with their names among them."""
        return sorted({*_find_files(self.read.args)}) if isinstance(self.read, partial) else []

    def _read_contents(self) -> dict[Split, Contents]:
        return {
            "train": _describe_contents(self.documents("train")),
            "val": _describe_contents(self.documents("val")),
        }


class Text(Source):
    """Documents to be read one after the other."""

    yields = "text"


class ParallelText(Source):
    """Every other document is the translation of the one before it."""

    yields = "pairs"
    needs = {"batch.sizes": ("one",)}  # rows of neighbouring lengths


@dataclass(frozen=True)
class Labelled(Source):
    """Each document has a label; `labels_from` says in an error where labels come from.

    Raises ValueError for a label of validation that training does not have.
    """

    yields = "labels"
    needs = {"batch.sizes": ("one",)}  # rows of neighbouring lengths
    labels_from: str = "it"

    def _read_contents(self) -> dict[Split, Contents]:
        train = _describe_contents(self.documents("train"))
        try:
            val = _describe_contents(self.documents("val"))
        except ValueError as error:
            if len(train.labels) < train.documents:
                raise
            raise ValueError(f"{error}; {self._count_labels(train.labels, train.documents)}") from None
        if unknown := set(val.labels) - set(train.labels):
            counted = self._count_labels(unknown.union(train.labels), train.documents + val.documents)
            raise ValueError(
                f"data={self.name}: label {reprlib.repr(min(unknown))} is in the val split only, where "
                f"nothing can learn it; {counted}, or give more documents, another data.val_fraction or "
                "data.val_path"
            )
        return {"train": train, "val": val}

    def _count_labels(self, labels: Collection[str], documents: int) -> str:
        return (
            f"{self.labels_from} gives {len(labels):,} labels to {documents:,} documents: if these are no "
            "labels name their column (data.label, data.columns)"
        )


def check_fraction(val_fraction: float) -> None:
    if not 0 < val_fraction < 1:
        raise ValueError(f"data.val_fraction={val_fraction}: must lie between 0 and 1, such as 0.1")


def split_by_hash(found: list[TextFile], field: str, fraction: float, split: Split) -> Iterator[Document]:
    """Files whose name hashes into `split`, of which those of the other are not even opened, and records.

    A record has a name by its line only, so its text is hashed: another line or file moves none, and equal
    texts are in one split.
    """
    return _read_documents(found, field, lambda key: is_in_split(key, fraction, split))


def is_in_split(key: str, fraction: float, split: Split) -> bool:
    """Whether what stands for a document, its text or its name, hashes into a split."""
    return (hash_text(key) / 2**64 < fraction) == (split == "val")


def hash_text(text: str) -> int:
    """64 bits; names of files may have surrogates."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(text), digest_size=8).digest(), "big")


def read_listed(found: dict[Split, list[TextFile]], field: str, split: Split) -> Iterator[Document]:
    return _read_documents(found[split], field, lambda name: True)


def split_by_position(file: TextFile, fraction: float, split: Split) -> Iterator[Document]:
    cut = int(sum(map(len, Pieces(file))) * (1 - fraction))
    yield Document(file.name, Pieces(file, *((0, cut) if split == "train" else (cut, None))))


def _read_documents(found: list[TextFile], field: str, wanted: Callable[[str], bool]) -> Iterator[Document]:
    for file in found:
        if file.kind in JSON:
            for record in read_json(file):
                text = get_text(record, field, "data.field")
                if wanted(text):
                    yield Document(f"{file.name}:{record.number}", text)
        elif wanted(file.name):
            yield Document(file.name, read_pieces(file))


def _describe_contents(documents: Iterator[Document]) -> Contents:
    digest, size, labels, number = hashlib.blake2b(digest_size=16), 0, set(), 0
    for name, pieces, label in documents:
        length = sum(len(piece.encode()) for piece in pieces)
        named, labelled = os.fsencode(name), label.encode()
        digest.update(_spell_length(len(named)) + named)  # lengths first, so that no two lists look alike
        digest.update(_spell_length(length))
        for piece in pieces:
            digest.update(piece.encode())
        if label:
            digest.update(_spell_length(len(labelled)) + labelled)
        size, number = size + length, number + 1
        labels.add(label)
    return Contents(digest.hexdigest(), size, tuple(sorted(labels - {""})), number)


def _find_files(value: Any) -> Iterator[tuple[str, Path]]:
    if isinstance(value, TextFile):
        yield value.name, value.path
    elif isinstance(value, Path):
        yield value.name, value
    elif isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _find_files(one)


def _spell_length(length: int) -> bytes:
    return length.to_bytes(8, "big")


def _describe_origin(source: Source) -> list[Any] | None:
    """What a source's documents follow from, read from no file; None where that is not certain."""
    if not isinstance(source.read, partial):
        return None
    arguments, paths = _spell_arguments(source)
    states = [path.stat() for path in paths if path.is_file()]
    changed = max((state.st_mtime for state in states), default=math.inf)
    if len(states) < len(paths) or changed > time.time() - JUST_NOW_S:
        return None  # a folder may hold anything, and what is read from no file is not known either
    places = [[one.st_size, one.st_mtime_ns, one.st_ctime_ns, one.st_ino] for one in states]
    code = [checksum(path) for path in sorted(CODE.glob("*.py"))]
    return [source.name, source.read.func.__qualname__, arguments, places, code]


def _spell_arguments(source: Source) -> tuple[str, list[Path]]:
    """The arguments of `read`, and the paths among them."""
    paths: list[Path] = []
    arguments = [source.read.args, source.read.keywords]
    return json.dumps(arguments, default=partial(_spell, paths)), paths


def _spell(paths: list[Path], argument: Any) -> str:
    if isinstance(argument, Quota):
        return f"at most {argument.max_bytes} bytes"
    paths.append(argument)
    return os.fspath(argument.absolute())
