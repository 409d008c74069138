"""Training and validation: files of their own, or documents by a hash."""

import hashlib
import os
from collections.abc import Callable, Iterator
from functools import partial

from triad.data.sources.finding import find, refuse_shared
from triad.data.sources.malformed import END, Malformed, OnError, Skipped
from triad.data.sources.opening import Quota, TextFile
from triad.data.sources.reading import Pieces, read_pieces
from triad.data.sources.records import get_text, is_table, read_values
from triad.data.sources.source import Document, Reader, Split

Files = dict[Split, list[TextFile]]
ReadFile = Callable[[TextFile], Iterator[Document]]


def find_splits(
    path: str | list[str], val_path: str | list[str] | None, fraction: float, quota: Quota, skipped: Skipped
) -> Files:
    """The files of each split; without `val_path` those of training, whose documents are to be divided.

    Raises FileNotFoundError, and ValueError for files of both splits or a fraction that is none.
    """
    files: Files = {"train": find(path, "data.path", quota, skipped)}
    if val_path is None:
        check_fraction(fraction)
        return files
    files["val"] = find(val_path, "data.val_path", quota, skipped)
    refuse_shared(files["train"], files["val"], "data.path", "data.val_path")
    return files


def find_test(
    test_path: str | list[str] | None, files: Files, quota: Quota, on_error: OnError
) -> list[TextFile]:
    """The files of the test split, none without `test_path`; ValueError for those of another split."""
    if test_path is None:
        return []
    found = find(test_path, "data.test_path", quota, Skipped(on_error))
    for split, others in files.items():
        refuse_shared(others, found, "data.path" if split == "train" else "data.val_path", "data.test_path")
    return found


def make_test_reader(read: ReadFile, files: list[TextFile]) -> Reader | None:
    """What reads the files of the test split, if there are any."""
    return partial(_read_files, read, files) if files else None


def _read_files(read: ReadFile, files: list[TextFile], split: Split) -> Iterator[Document]:
    for file in files:
        yield from read(file)


def read_split(
    read: ReadFile, files: Files, get_key: Callable[[Document], str], fraction: float, split: Split
) -> Iterator[Document]:
    """What `read` finds in the files of a split; without files for validation, what hashes into the split.

    A document is hashed by what it keeps, whatever others there are: its text, or a name that is its own.
    """
    for file in files.get(split, files["train"]):
        for document in read(file):
            if "val" in files or is_in_split(get_key(document), fraction, split):
                yield document


def get_document_name(document: Document) -> str:
    return document.name


def get_document_text(document: Document) -> str:
    return document.text


def check_fraction(val_fraction: float) -> None:
    if not 0 < val_fraction < 1:
        raise ValueError(f"data.val_fraction={val_fraction}: must lie between 0 and 1, such as 0.1")


def is_in_split(key: str, fraction: float, split: Split) -> bool:
    """Whether what stands for a document, its text or its name, hashes into a split."""
    return (hash_text(key) / 2**64 < fraction) == (split == "val")


def hash_text(text: str) -> int:
    """64 bits; names of files may have surrogates."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(text), digest_size=8).digest(), "big")


def split_by_hash(
    found: list[TextFile], field: str, columns: list[str] | None, fraction: float, split: Split
) -> Iterator[Document]:
    """Files whose name hashes into `split`, of which those of the other are not even opened, and records.

    A record has a name by its line only, so its text is hashed: another line or file moves none, and equal
    texts are in one split.
    """
    return _read_documents(found, field, columns, lambda key: is_in_split(key, fraction, split))


def read_documents(field: str, columns: list[str] | None, file: TextFile) -> Iterator[Document]:
    """The records of a file, or its text."""
    return _read_documents([file], field, columns, lambda name: True)


def split_by_position(file: TextFile, fraction: float, split: Split) -> Iterator[Document]:
    cut = int(sum(map(len, Pieces(file))) * (1 - fraction))
    yield Document(file.name, Pieces(file, *((0, cut) if split == "train" else (cut, None))))


def _read_documents(
    found: list[TextFile], field: str, columns: list[str] | None, wanted: Callable[[str], bool]
) -> Iterator[Document]:
    pick = partial(get_text, field=field, key="data.field")
    for file in found:
        if is_table(file, columns):
            for number, text in read_values(file, {field: "data.field"}, columns, pick):
                if not text:
                    file.skipped.count(file.path, number, "empty")
                elif wanted(text):
                    yield Document(f"{file.name}:{number}", text)
        elif wanted(file.name) and (pieces := _read_sound(file)):
            yield Document(file.name, pieces)


def _read_sound(file: TextFile) -> tuple[str, ...] | Pieces:
    """The text of a file; nothing of one that has none, or, where that is skipped, is malformed somewhere."""
    try:
        pieces = read_pieces(file)
        some = any(pieces) if file.skipped.on_error == "raise" else sum(map(len, pieces))
    except Malformed as error:
        file.skipped.meet(file.path, error)
        return ()
    if not some:
        file.skipped.count(file.path, END, "empty")
    return pieces if some else ()
