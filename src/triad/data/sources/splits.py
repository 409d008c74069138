"""Training and validation: files of their own, or documents by a hash."""

from collections.abc import Callable, Iterator
from typing import Literal

from triad.data.sources.finding import find, refuse_shared
from triad.data.sources.malformed import Skipped
from triad.data.sources.opening import Quota, TextFile
from triad.data.sources.source import Document, Split, check_fraction, is_in_split

Files = dict[Split, list[TextFile]]


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


def read_split(
    read: Callable[[TextFile], Iterator[Document]],
    files: Files,
    key: Literal["name", "text"],
    fraction: float,
    split: Split,
) -> Iterator[Document]:
    """What `read` finds in the files of a split; without files for validation, what hashes into the split.

    A document is hashed by what it keeps, whatever others there are: its text, or a name that is its own.
    """
    for file in files.get(split, files["train"]):
        for document in read(file):
            if "val" in files or is_in_split(getattr(document, key), fraction, split):
                yield document
