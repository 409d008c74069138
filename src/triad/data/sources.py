"""Where text comes from: a source streams the named documents of a training and of a validation split."""

import hashlib
import os
import sysconfig
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, NamedTuple

from triad.data import files
from triad.data.cache import cached, home
from triad.data.files import Found

Split = Literal["train", "val"]
NOT_LIBRARY = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
OF_THE_BUILD = ("_sysconfigdata", "sitecustomize", "python-config")  # these hold folders of one machine


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

    `paired`: every other document is the translation of the one before it. `labelled`: each has a label.
    """

    name: str
    read: Callable[[Split], Iterator[Document]]
    paired: bool = False
    labelled: bool = False

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
        return {"train": _contents(self.documents("train")), "val": _contents(self.documents("val"))}


def stdlib(val_fraction: float) -> Source:
    """The running Python's standard library without its tests: one document per source file."""
    _check_fraction(val_fraction)
    root = Path(sysconfig.get_path("stdlib"))
    sources = [
        found
        for found in files.walk(root, NOT_LIBRARY)
        if found.path.suffix == ".py" and not found.path.name.startswith(OF_THE_BUILD)
    ]
    if not sources:
        raise FileNotFoundError(f"{root}: this Python has no library sources; use data=text data.path=FOLDER")
    return Source("stdlib", partial(_by_name, sources, "", val_fraction))


def text(path: str | list[str], field: str, val_fraction: float, val_path: str | list[str] | None) -> Source:
    """Files, folders and globs of UTF-8 text, plain or compressed; each line of .jsonl is a document.

    Without `val_path` a hash of its name sends a document to training or validation, so that adding files
    moves no other; a single plain file is cut by position, its last `val_fraction` for validation.
    """
    train = files.find(path, "data.path")
    if val_path is not None:
        splits: dict[Split, list[Found]] = {"train": train, "val": files.find(val_path, "data.val_path")}
        return Source("text", partial(_by_list, splits, field))
    _check_fraction(val_fraction)
    if len(train) == 1 and not files.is_jsonl(train[0].path):
        return Source("text", partial(_by_position, train[0], val_fraction))
    return Source("text", partial(_by_name, train, field, val_fraction))


def shakespeare(path: str | None, url: str, sha256: str) -> Source:
    """Tiny Shakespeare, split as in nanoGPT: the first 90 % of its characters train, the rest validate.

    Karpathy 2015, https://github.com/karpathy/char-rnn. Without `path` it is downloaded once.
    """
    if path is None:
        folder = home() / f"shakespeare-{sha256[:16]}"
        cached(folder, partial(_download, url, sha256))
        file = folder / "input.txt"
    else:
        file = Path(path).expanduser()
    _check_sha256(files.read(file).encode(), sha256, str(file))
    return Source("shakespeare", partial(_by_position, Found("shakespeare", file), 0.1))


def _download(url: str, sha256: str, folder: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            data = answer.read()
    except OSError as error:
        raise FileNotFoundError(
            f"cannot download {url} ({error}); fetch it elsewhere and give data.path=FILE"
        ) from None
    _check_sha256(data, sha256, url)
    (folder / "input.txt").write_bytes(data)


def _check_sha256(data: bytes, sha256: str, where: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{where}: not tiny Shakespeare, SHA-256 {found[:12]} where data.sha256 has {sha256[:12]}; "
            "for a text of your own use data=text data.path=FILE"
        )


def _check_fraction(val_fraction: float) -> None:
    if not 0 < val_fraction < 1:
        raise ValueError(f"data.val_fraction={val_fraction}: must lie between 0 and 1, such as 0.1")


def _by_name(found: list[Found], field: str, fraction: float, split: Split) -> Iterator[Document]:
    """Documents whose name hashes into `split`; plain files of the other one are not even opened."""

    def wanted(name: str) -> bool:
        digest = hashlib.blake2b(os.fsencode(name), digest_size=8).digest()
        return (int.from_bytes(digest, "big") / 2**64 < fraction) == (split == "val")

    return _documents(found, field, wanted)


def _by_list(found: dict[Split, list[Found]], field: str, split: Split) -> Iterator[Document]:
    return _documents(found[split], field, lambda name: True)


def _by_position(found: Found, fraction: float, split: Split) -> Iterator[Document]:
    text = files.read(found.path)
    cut = int(len(text) * (1 - fraction))
    yield Document(found.name, text[:cut] if split == "train" else text[cut:])


def _documents(found: list[Found], field: str, wanted: Callable[[str], bool]) -> Iterator[Document]:
    for name, path in found:
        if files.is_jsonl(path):
            for number, text in files.lines(path, field):
                if wanted(line := f"{name}:{number}"):
                    yield Document(line, text)
        elif wanted(name):
            yield Document(name, files.read(path))


def _contents(documents: Iterator[Document]) -> Contents:
    digest, size, labels = hashlib.blake2b(digest_size=16), 0, set()
    for name, text, label in documents:
        encoded = text.encode()
        parts = [os.fsencode(name), encoded, *([label.encode()] if label else [])]
        for part in parts:  # lengths first, so that no two lists look alike
            digest.update(len(part).to_bytes(8, "big") + part)
        size += len(encoded)
        labels.add(label)
    return Contents(digest.hexdigest(), size, tuple(sorted(labels - {""})))
