"""Data sets as they were published: out of a folder that has a copy, or fetched once."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

from triad.data.progress import show_progress
from triad.data.sources.opening import COMPRESSED
from triad.data.sources.source import ParallelText, Reader, Source, Split
from triad.storage.download import fetch_once

PACKED = ("", *COMPRESSED)
Kind = TypeVar("Kind", bound=Source)
Count = Annotated[int, ">= 1"]


class Published(NamedTuple):
    """The files of a data set: `files` lists the name of each, its SHA-256 and its bytes.

    They are at `address`, or, unless `path` is None, in the folder `path`, each as it was published, unpacked
    or packed otherwise. A copy in a folder is the user's own, and is taken as it is. Where `address` is
    `git clone ...` the user has to run that, since what it brings is no file.
    """

    name: str
    path: str | None
    address: str
    files: list[list]

    @property
    def is_repository(self) -> bool:
        return self.address.startswith("git clone ")

    def find(self, *names: str) -> str:
        """The path of the file that has one of these names, given without the suffix of a compression.

        Raises FileNotFoundError, with what to fetch and where to put it, and ValueError for a server that
        sends another file.
        """
        if self.path is not None:
            return self._find_copy(Path(self.path).expanduser(), names)
        if self.is_repository:
            raise FileNotFoundError(f"data={self.name} is published as a repository; {self._tell_remedy()}")
        published, sha256, size_bytes = next(file for file in self.files if _unpack_name(file[0]) in names)
        with show_progress(published, size_bytes) as advance:
            try:
                return str(fetch_once(self.address + published, sha256, size_bytes, advance))
            except OSError as error:
                fault = f"cannot fetch {self.address}{published} ({error})"
                raise FileNotFoundError(f"data={self.name}: {fault}; {self._tell_remedy()}") from None
            except ValueError as error:
                raise ValueError(f"data={self.name}: {error}; {self._tell_remedy()}") from None

    def has(self, *names: str) -> bool:
        """Whether the folder has a copy of each of these files."""
        if self.path is None:
            return False
        folder = Path(self.path).expanduser()
        return all(any(file.is_file() for file in _list_copies(folder, [name])) for name in names)

    def _find_copy(self, folder: Path, names: Iterable[str]) -> str:
        for file in _list_copies(folder, names):
            if file.is_file():
                return str(file)
        if not folder.is_dir():
            raise FileNotFoundError(f"data.path={self.path}: no such folder; {self._tell_remedy()}")
        wanted = " or ".join(names)
        raise FileNotFoundError(
            f"data.path={self.path}: has no {wanted}, packed or not; {self._tell_remedy()}"
        )

    def _tell_remedy(self) -> str:
        addresses = " ".join(self.address + name for name, *_ in self.files)
        way = f"run `{self.address} FOLDER`" if self.is_repository else f"fetch {addresses} into a folder"
        return f"where there is a network {way}, and give data.path=FOLDER"


def _list_copies(folder: Path, names: Iterable[str]) -> list[Path]:
    return [folder / (name + suffix) for name in names for suffix in PACKED]


def _unpack_name(name: str) -> str:
    return name.removesuffix(next((suffix for suffix in COMPRESSED if name.endswith(suffix)), ""))


def name_source(source: Kind, name: str, examples: Count | None) -> Kind:
    """A source under the name of its group, with the first `examples` of training and of validation only."""
    if examples is None:
        return replace(source, name=name)
    documents = examples * (2 if isinstance(source, ParallelText) else 1)
    return replace(source, name=name, read=partial(read_first, source.read, documents))


def read_first(read: Reader, documents: int, split: Split) -> Iterator[Any]:
    return islice(read(split), documents)
