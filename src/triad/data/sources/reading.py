"""UTF-8 text out of files: found by name, decompressed and decoded, with every fault reported by name."""

import bz2
import codecs
import glob
import gzip
import io
import json
import lzma
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

OPENERS = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
COMPRESSED = (*OPENERS, ".zst")
WILD = set("*?[")
AT_ONCE = 1 << 16  # bytes of a file that are in memory


class Found(NamedTuple):
    """A file, and its name relative to what was asked for: the same on every machine."""

    name: str
    path: Path


def find(asked: str | list[str], key: str) -> list[Found]:
    """Sorted files of each path, folder (recursively) or glob; FileNotFoundError when one gives none."""
    found = []
    for pattern in [asked] if isinstance(asked, str) else asked:
        files = _find_one(Path(pattern).expanduser())
        if not files:
            raise FileNotFoundError(f"{key}: {pattern!r} is no file, folder with files or glob; check {key}")
        found += files
    if not found:
        raise FileNotFoundError(f"{key}: the list is empty; name a file, folder or glob")
    return found


def _find_one(path: Path) -> list[Found]:
    if path.is_file():
        return [Found(path.name, path)]
    if path.is_dir():
        return list(walk_files(path, set()))
    fixed = path
    while WILD & set(str(fixed)):
        fixed = fixed.parent
    matches = (Path(match) for match in sorted(glob.glob(str(path), recursive=True)))
    return [Found(match.relative_to(fixed).as_posix(), match) for match in matches if match.is_file()]


def walk_files(root: Path, without: set[str]) -> list[Found]:
    """Files below `root` in order of name, passing over hidden ones and folders named in `without`."""
    found = []
    for folder, inner, names in os.walk(root):
        inner[:] = [name for name in inner if name not in without and not name.startswith(".")]
        paths = (Path(folder, name) for name in names if not name.startswith("."))
        found += [Found(path.relative_to(root).as_posix(), path) for path in paths if path.is_file()]
    return sorted(found)


def is_jsonl(path: Path) -> bool:
    return ".jsonl" in path.suffixes[-2:]


def read_text(path: Path) -> str:
    """The whole of one file, its newlines as they are."""
    with _open(path) as file:
        return _decode(b"".join(_read_guarded(file, path)), path, 0)


@dataclass(frozen=True)
class Pieces:
    """The text of a file from one character to another, in pieces; read anew at every iteration."""

    path: Path
    begin: int = 0
    end: int | None = None

    def __iter__(self) -> Iterator[str]:
        position = 0
        for text in _decode_blocks(self.path):
            end = len(text) if self.end is None else max(0, self.end - position)
            if part := text[max(0, self.begin - position) : end]:
                yield part
            position += len(text)
            if self.end is not None and position >= self.end:
                return


def read_pieces(path: Path) -> tuple[str] | Pieces:
    """The text of one file, its newlines as they are; a large one is read as it is needed."""
    if path.is_file() and path.suffix not in COMPRESSED and path.stat().st_size <= AT_ONCE:
        return (read_text(path),)
    return Pieces(path)


def read_lines(path: Path) -> Iterator[str]:
    """The lines of one file with their ends, one in memory at a time."""
    offset = 0
    with _open(path) as file:
        for line in _read_guarded(file, path):
            yield _decode(line, path, offset)
            offset += len(line)


def read_json_texts(path: Path, field: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line of JSON, one in memory at a time; blank lines are passed over."""
    for number, row in read_json_lines(path):
        yield number, get_text(row, field, f"{path}, line {number}", "data.field")


def read_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Number and value of each line of JSON, one in memory at a time; blank lines are passed over."""
    for number, line in enumerate(read_lines(path), 1):
        if content := line.strip():
            yield number, _parse(content, f"{path}, line {number}")


def _parse(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON ({error}); mend or remove the line") from None


def get_text(row: Any, field: str, where: str, key: str) -> str:
    """The text under a name in a line of JSON; `key` is what says the name."""
    if not isinstance(row, dict) or not isinstance(row.get(field), str):
        keys = ", ".join(row) if isinstance(row, dict) else type(row).__name__
        raise ValueError(f"{where}: no text under {field!r} (it has: {keys}); set {key}")
    try:
        row[field].encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where}: half a surrogate pair is not Unicode; mend or remove the line") from None
    return row[field]


def _decode(data: bytes, path: Path, offset: int) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(path, offset + error.start) from None


def _decode_blocks(path: Path) -> Iterator[str]:
    decoder, offset = codecs.getincrementaldecoder("utf-8")(), 0
    with _open(path) as file:
        blocks = iter(partial(file.read, AT_ONCE), b"")
        for block in chain(_read_guarded(blocks, path), [b""]):
            begun = len(decoder.getstate()[0])  # bytes of a character that the block before began
            try:
                yield decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise _not_utf8(path, offset - begun + error.start) from None
            offset += len(block)


def _not_utf8(path: Path, where: int) -> ValueError:
    return ValueError(f"{path}: not UTF-8 at byte {where}; convert it (iconv -t UTF-8) or leave it out")


def _open(path: Path) -> BinaryIO:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; check data.path")
    if path.suffix == ".zst":
        return _open_zstandard(path)
    return cast(BinaryIO, OPENERS.get(path.suffix, open)(path, "rb"))


def _open_zstandard(path: Path) -> BinaryIO:
    try:
        import zstandard
    except ImportError:
        raise ValueError(f"{path}: .zst needs the package zstandard: pip install zstandard") from None
    reader = zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True)
    return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, reader)))


def _read_guarded(parts: Iterable[bytes], path: Path) -> Iterator[bytes]:
    """The lines or blocks of a file; damage inside a compressed one is reported by its name."""
    try:
        yield from parts
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); is it damaged?") from None
    except Exception as error:  # zstandard's own error, whose class is unknown until it is imported
        error.add_note(f"while reading {path}")
        raise
