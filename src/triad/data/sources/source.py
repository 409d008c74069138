"""Where text comes from: a source streams the named documents of its splits, and the examples they make."""

import hashlib
import json
import math
import os
import reprlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from triad.data.encoding import encode_documents
from triad.data.sources.malformed import Skipped, describe_skipped
from triad.data.sources.opening import Quota, TextFile
from triad.storage.cache import build_once, cache_home
from triad.storage.manifest import Facts, checksum, fingerprint

Split = Literal["train", "val", "test"]
Reader = Callable[[Split], Iterator["Document"]]


CODE = ("sources/*.py", "clean/html.py")  # what the documents of a file are is decided here
LISTED = 10  # labels in an error
JUST_NOW_S = 2.0  # a file changed less long ago may change again within the resolution of its time


class Document(NamedTuple):
    """A named text: whole, or in pieces that can be read again, so that a large one is not held whole.

    `label` is what belongs to the text without being part of it: a label, or as JSON further references of
    a target, or all of an example that has other parts.
    """

    name: str
    pieces: Iterable[str]
    label: str = ""

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class TokenizedText(NamedTuple):
    """A document's name, its tokens in blocks with the separator behind them, and its label."""

    name: str
    blocks: Iterable[np.ndarray]
    label: str


class Contents(NamedTuple):
    """What a split holds: a hash of its names, texts and labels, its size as UTF-8, its sorted labels.

    `skipped` are the records that were left out, by reason: those that no other split had met before.
    """

    fingerprint: str
    bytes: int
    labels: tuple[str, ...]
    documents: int
    skipped: dict[str, int] = {}


@dataclass(frozen=True)
class Source:
    """Documents by split, read anew at every call, so that memory does not grow with the corpus.

    The documents follow from the arguments of `read`, a functools.partial, and from the files that are among
    them as Path: what they come to is remembered until one of these changes. What a source yields is a
    literal of its class, which the function that makes it names as what it returns. The test split has files
    of its own, which are no part of `read`: nothing that training does looks at them.
    """

    yields: ClassVar[str]  # the kind of its examples
    has_text: ClassVar[bool] = True  # and not only tokens
    name: str
    read: Callable[[Split], Iterator[Any]]  # documents, or what the class makes them of
    licence: str | None = None  # of the text, as it is written into the manifest of what is made of it
    read_test: Reader | None = field(default=None, kw_only=True)  # the documents of the test split

    def examples(self, split: Split) -> Iterator[dict[str, Any]]:
        """The examples of a split, in their order, as what `yields` names.

            text {text}; pairs {source, target} and, where there are further ones, {references};
            labels {text, label}; of other kinds see triad.data.sources.examples

        Raises ValueError for a split that there is not, or that has no text.
        """
        for document in self.documents(split):
            yield {"text": document.text}

    def documents(self, split: Split) -> Iterator[Document]:
        """Stream the documents that have text; ValueError when there are none."""
        documents = self.stream(split)
        if (first := next(documents, None)) is None:
            raise ValueError(self.tell_no_text(split))
        yield first
        yield from documents

    @property
    def is_test_only(self) -> bool:
        return self.read_test is not None and not any(one.documents for one in self.contents.values())

    def tell_no_text(self, split: Split) -> str:
        if split == "test":
            return f"data={self.name}: the files of the test split have no text; give others"
        if self.is_test_only:
            return (
                f"data={self.name} has a test split only, on which nothing is trained: evaluate a run on it, "
                f"`triad evaluate run=outputs/<run_id> data={self.name} split=test`"
            )
        return (
            f"data={self.name}: the {split} split has no text; give more documents, "
            "another data.val_fraction, or data.val_path"
        )

    def stream(self, split: Split) -> Iterator[Document]:
        """The documents that have text, which may be none.

        Raises ValueError for a document of the test split with a label that training does not have.
        """
        reader = self._get_reader(split)
        for document in reader(split):
            whole = isinstance(document.pieces, str)
            pieces = (document.pieces,) if whole else document.pieces
            if any(pieces):
                if split == "test":
                    self._check_labels(document)
                yield document._replace(pieces=pieces)
        if split == "test" and (said := describe_skipped(_sum_reasons(_find_skipped(reader)))):
            print(f"data={self.name}: {said} of the test split", file=sys.stderr)

    def _get_reader(self, split: Split) -> Reader:
        if split != "test":
            return self.read
        if self.read_test is None:
            raise ValueError(
                f"data={self.name} has no test split: a source of files has one by data.test_path, parallel "
                "by data.test_source"
            )
        return self.read_test

    def _check_labels(self, document: Document) -> None:
        if not (labels := {*self.get_labels(document)}):
            return
        if unknown := labels.difference(known := self.contents["train"].labels):
            shown = ", ".join(known[:LISTED]) + (f" and {len(known) - LISTED} more" if known[LISTED:] else "")
            raise ValueError(
                f"data={self.name}: {document.name} of the test split has the label "
                f"{reprlib.repr(min(unknown))}, which training never saw; it knows {shown}"
            )

    def tokenize(
        self, split: Split, tokenizer: Any, advance: Callable[[int], None]
    ) -> Iterator[TokenizedText]:
        """The tokens of each document; `advance` is told the bytes of text as they are read.

        Raises ValueError for a text that changed after its contents were read.
        """
        end = np.array([] if tokenizer.separator is None else [tokenizer.separator], np.int64)
        size = 0

        def count(pieces: Iterable[str]) -> Iterator[str]:
            nonlocal size
            for piece in pieces:
                size += (read := len(piece.encode()))
                advance(read)
                yield piece

        for (name, _, label), blocks in encode_documents(self.documents(split), tokenizer, count):
            yield TokenizedText(name, chain(blocks, [end]), label)
        if size != self.contents[split].bytes:
            raise ValueError(f"data={self.name}: the {split} text changed while it was read; start again")

    def count_bytes(self, split: Split, tokenizer: Any) -> int:
        """Bytes of the text of a split, as UTF-8."""
        return self.contents[split].bytes

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
    def skipped(self) -> dict[str, int]:
        """How many records of both splits were left out, by reason."""
        return dict(sum((Counter(contents.skipped) for contents in self.contents.values()), Counter()))

    @property
    def files(self) -> list[tuple[str, Path]]:
        """The files that the documents come from, as far as that is known, with their names among them."""
        return sorted({(file.name, _get_path(file)) for file in _find_files(self.read)})

    def sample(self, most_bytes: int) -> "Source":
        """What a tokenizer learns from that needs so many bytes of the text at most: it may take fewer."""
        return self

    def map(self, work: Callable[["Source"], "Source"]) -> "Source":
        """What some work makes of it; a source that is made of others has each of them worked on."""
        return work(self)

    def _read_contents(self) -> dict[Split, Contents]:
        self._count_anew()
        return {"train": self._describe("train"), "val": self._describe("val")}

    def _count_anew(self) -> None:
        for skipped in _find_skipped(self.read):
            skipped.clear()

    def _describe(self, split: Split) -> Contents:
        """What a split holds, and what is left out of it that was not counted before."""
        before = _sum_reasons(_find_skipped(self.read))
        contents = _describe_contents(self.stream(split), self.get_labels)
        return contents._replace(skipped=dict(_sum_reasons(_find_skipped(self.read)) - before))

    def get_labels(self, document: Document) -> Iterable[str]:
        """The labels of a document, which are to be learned."""
        return ()


class Text(Source):
    """Documents to be read one after the other."""

    yields = "text"


class ParallelText(Source):
    """Every other document is the translation of the one before it."""

    yields = "pairs"
    needs = {"batch.sizes": ("one",)}  # rows of neighbouring lengths

    def examples(self, split: Split) -> Iterator[dict[str, Any]]:
        documents = self.documents(split)
        for source, target in zip(documents, documents, strict=True):
            pair = {"source": source.text, "target": target.text}
            yield pair | ({"references": json.loads(target.label)} if target.label else {})


@dataclass(frozen=True)
class Labelled(Source):
    """Each document has a label; `labels_from` says in an error where labels come from.

    Raises ValueError for a label of validation or test that training does not have.
    """

    yields = "labels"
    needs = {"batch.sizes": ("one",)}  # rows of neighbouring lengths
    labels_from: str = "it"

    def examples(self, split: Split) -> Iterator[dict[str, Any]]:
        for document in self.documents(split):
            yield {"text": document.text, "label": document.label}

    def get_labels(self, document: Document) -> Iterable[str]:
        return (document.label,)

    def _read_contents(self) -> dict[Split, Contents]:
        contents = super()._read_contents()
        train, val = contents.values()
        if not val.documents and 1 < len(train.labels) == train.documents:  # no labels, most likely
            raise ValueError(
                f"{self.tell_no_text('val')}; {self._count_labels(train.labels, train.documents)}"
            )
        if train.documents and (unknown := set(val.labels) - set(train.labels)):
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


def _describe_contents(
    documents: Iterator[Document], get_labels: Callable[[Document], Iterable[str]]
) -> Contents:
    digest, size, labels, number = hashlib.blake2b(digest_size=16), 0, set(), 0
    for document in documents:
        name, pieces, label = document
        length = sum(len(piece.encode()) for piece in pieces)
        named, labelled = os.fsencode(name), label.encode()
        digest.update(_spell_length(len(named)) + named)  # lengths first, so that no two lists look alike
        digest.update(_spell_length(length))
        for piece in pieces:
            digest.update(piece.encode())
        if label:
            digest.update(_spell_length(len(labelled)) + labelled)
        size, number = size + length, number + 1
        labels.update(get_labels(document))
    return Contents(digest.hexdigest(), size, tuple(sorted(labels - {""})), number)


def _sum_reasons(counts: Iterable[Skipped]) -> Counter[str]:
    return sum((one.reasons for one in counts), Counter())


def _find_skipped(reader: Reader) -> set[Skipped]:
    return {file.skipped for file in _find_files(reader) if isinstance(file, TextFile)}


def _find_files(value: Any) -> Iterator[TextFile | Path]:
    """The files among the arguments of a functools.partial."""
    if isinstance(value, partial):
        yield from _find_files(value.args)
    elif isinstance(value, TextFile | Path):
        yield value
    elif isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _find_files(one)


def _get_path(file: TextFile | Path) -> Path:
    return file.path if isinstance(file, TextFile) else file


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
    root = Path(__file__).parents[1]
    code = [checksum(path) for pattern in CODE for path in sorted(root.glob(pattern))]
    return [source.name, source.read.func.__qualname__, arguments, places, code]


def _spell_arguments(source: Source) -> tuple[str, list[Path]]:
    """The arguments of `read`, and the paths among them."""
    paths: list[Path] = []
    arguments = [source.read.args, source.read.keywords]
    return json.dumps(arguments, default=partial(_spell, paths)), paths


def _spell(paths: list[Path], argument: Any) -> str:
    if isinstance(argument, Quota):
        return f"at most {argument.max_bytes} bytes"
    if isinstance(argument, Skipped):
        return argument.on_error
    if isinstance(argument, partial):
        return json.dumps([argument.func, argument.args], default=partial(_spell, paths))
    if callable(argument):
        packages = [f"{name} {version(name)}" for name in getattr(argument, "packages", ())]
        return " ".join([argument.__module__, argument.__qualname__, *packages])
    paths.append(argument)
    return os.fspath(argument.absolute())
