"""Where text comes from: a source streams the named documents of a training and of a validation split."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, NamedTuple

from triad.data.sources import reading as files
from triad.data.sources.reading import Found

Split = Literal["train", "val"]


class Document(NamedTuple):
    name: str
    text: str
    label: str = ""


class Contents(NamedTuple):
    """What a split holds: a hash of its names, texts and labels, its size as UTF-8, its sorted labels."""

    fingerprint: str
    bytes: int
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """Documents by split, read anew at every call, so that memory does not grow with the corpus.

    What a source yields is a literal of its class, which the function that makes it names as what it returns.
    """

    yields: ClassVar[Literal["text", "pairs", "labels"]]
    name: str
    read: Callable[[Split], Iterator[Document]]

    def documents(self, split: Split) -> Iterator[Document]:
        """Stream the documents that have text; ValueError when there are none."""
        empty = True
        for document in self.read(split):
            if document.text:
                empty = False
                yield document
        if empty:
            raise ValueError(
                f"data={self.name}: the {split} split has no text; give more documents, "
                "another data.val_fraction, or data.val_path"
            )

    @cached_property
    def contents(self) -> dict[Split, Contents]:
        """Fingerprint and size of both splits; reads all the text, once in the life of the source."""
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


class Labelled(Source):
    """Each document has a label."""

    yields = "labels"
    needs = {"batch.sizes": ("one",)}  # rows of neighbouring lengths


def check_fraction(val_fraction: float) -> None:
    if not 0 < val_fraction < 1:
        raise ValueError(f"data.val_fraction={val_fraction}: must lie between 0 and 1, such as 0.1")


def split_by_name(found: list[Found], field: str, fraction: float, split: Split) -> Iterator[Document]:
    """Documents whose name hashes into `split`; plain files of the other one are not even opened."""

    def wanted(name: str) -> bool:
        digest = hashlib.blake2b(os.fsencode(name), digest_size=8).digest()
        return (int.from_bytes(digest, "big") / 2**64 < fraction) == (split == "val")

    return _read_documents(found, field, wanted)


def read_listed(found: dict[Split, list[Found]], field: str, split: Split) -> Iterator[Document]:
    return _read_documents(found[split], field, lambda name: True)


def split_by_position(found: Found, fraction: float, split: Split) -> Iterator[Document]:
    text = files.read_text(found.path)
    cut = int(len(text) * (1 - fraction))
    yield Document(found.name, text[:cut] if split == "train" else text[cut:])


def _read_documents(found: list[Found], field: str, wanted: Callable[[str], bool]) -> Iterator[Document]:
    for name, path in found:
        if files.is_jsonl(path):
            for number, text in files.read_json_texts(path, field):
                if wanted(line := f"{name}:{number}"):
                    yield Document(line, text)
        elif wanted(name):
            yield Document(name, files.read_text(path))


def _describe_contents(documents: Iterator[Document]) -> Contents:
    digest, size, labels = hashlib.blake2b(digest_size=16), 0, set()
    for name, text, label in documents:
        encoded = text.encode()
        parts = [os.fsencode(name), encoded, *([label.encode()] if label else [])]
        for part in parts:  # lengths first, so that no two lists look alike
            digest.update(len(part).to_bytes(8, "big") + part)
        size += len(encoded)
        labels.add(label)
    return Contents(digest.hexdigest(), size, tuple(sorted(labels - {""})))
