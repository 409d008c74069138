"""The one way into a file: its bytes, unpacked by its suffix, in constant memory and within bounds."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from triad.data.sources.malformed import Malformed, Skipped

AT_ONCE = 1 << 16  # bytes of a file that are in memory
PACKED_AT_ONCE = 1 << 10  # of .xz and .zst, whose decompressors give all that these come to: 32 MiB at most
STREAMS: dict[str, Callable] = {".gz": gzip.open, ".bz2": bz2.open}
COMPRESSED = (*STREAMS, ".xz", ".zst")
WINDOW_BYTES = 128 << 20  # memory of a decompressor: zstd's own default; xz -9 asks for half of it
BOMB_BYTES, BOMB_RATIO = 10**9, 100  # a file that unpacks to more than both is refused
MARKS = {  # of the longer first: UTF-32's begins with UTF-16's
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
SAME_KIND = {".ndjson": ".jsonl"}


@dataclass(eq=False)
class Quota:
    """How many bytes all files of a source may hold, unpacked; without a bound only bombs are refused.

    A file that is read again is counted once. Raises ValueError for a bound below 1.
    """

    max_bytes: int | None = None
    read: dict[Path, int] = field(default_factory=dict)  # the most that was read of each file
    total: int = 0

    def __post_init__(self) -> None:
        if self.max_bytes is not None and self.max_bytes < 1:
            raise ValueError(f"data.max_bytes={self.max_bytes}: a number of bytes, or null for no bound")

    def charge(self, path: Path, unpacked: int, packed: int) -> None:
        """Count the first `unpacked` bytes of a file that has `packed` on disk; ValueError beyond a bound."""
        if self.max_bytes is None:
            if unpacked > max(BOMB_BYTES, BOMB_RATIO * packed):
                raise ValueError(
                    f"{path}: {packed:,} bytes unpack to more than {unpacked - 1:,}, {BOMB_RATIO} times as "
                    "many: a decompression bomb? If it is meant, set data.max_bytes to what all files hold"
                )
            return
        self.total += max(0, unpacked - self.read.get(path, 0))
        self.read[path] = max(unpacked, self.read.get(path, 0))
        if self.total > self.max_bytes:
            raise ValueError(
                f"data.max_bytes={self.max_bytes}: with {path} the files hold more, {self.total:,} bytes at "
                "least when they are unpacked; raise data.max_bytes or read fewer files"
            )


class TextFile(NamedTuple):
    """A file, its name relative to what was asked for, the same on every machine, and what bounds it.

    `skipped` says what becomes of malformed records, and counts them.
    """

    name: str
    path: Path
    quota: Quota
    skipped: Skipped

    @property
    def packed(self) -> bool:
        return self.path.suffix.lower() in COMPRESSED

    @property
    def kind(self) -> str:
        """What the suffix says of the text, in small letters and without that of the compression."""
        suffix = (Path(self.path.stem) if self.packed else self.path).suffix.lower()
        return SAME_KIND.get(suffix, suffix)


def read_blocks(file: TextFile) -> Iterator[bytes]:
    """The bytes of a file, unpacked, some at a time.

    Raises FileNotFoundError, ValueError for what holds too much, and Malformed for what is damaged or is
    UTF-16 or UTF-32.
    """
    if not file.path.is_file():
        raise FileNotFoundError(f"{file.path}: no such file; check data.path")
    packed, unpacked, head = file.path.stat().st_size, 0, b""
    for block in _guard(_unpack(file.path), file.path):
        if unpacked < 4:  # decompressors may give a byte at a time
            head += block[:4]
            _refuse_other_encodings(head, file.path)
        unpacked += len(block)
        file.quota.charge(file.path, unpacked, packed)
        yield block


def _refuse_other_encodings(head: bytes, path: Path) -> None:
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            raise Malformed(
                f"{path}: {encoding}, by its byte order mark, where UTF-8 is read; convert it: "
                f"iconv -f {encoding} -t UTF-8 {path.name}",
                "not UTF-8",
            )


def _unpack(path: Path) -> Iterator[bytes]:
    suffix = path.suffix.lower()
    if suffix == ".xz":
        return _unpack_frames(path, partial(lzma.LZMADecompressor, memlimit=WINDOW_BYTES))
    if suffix == ".zst":
        return _unpack_zstandard(path)
    return _read_stream(path, STREAMS.get(suffix, open))


def _read_stream(path: Path, opened: Callable) -> Iterator[bytes]:
    with opened(path, "rb") as file:
        yield from iter(partial(file.read, AT_ONCE), b"")


def _unpack_zstandard(path: Path) -> Iterator[bytes]:
    try:
        import zstandard
    except ImportError:
        raise ValueError(f"{path}: .zst needs the package zstandard: pip install zstandard") from None
    try:
        start = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES).decompressobj
        yield from _unpack_frames(path, start)
    except zstandard.ZstdError as error:
        raise OSError(str(error)) from None


def _unpack_frames(path: Path, start: Callable[[], Any]) -> Iterator[bytes]:
    """The frames of a file one after the other, each by a decompressor of its own; EOFError for a cut one.

    lzma.open knows no bound of memory, and zstandard's stream_reader takes a cut frame for a complete one.
    """
    frame, rest = None, b""
    with path.open("rb") as file:
        while rest or (rest := file.read(PACKED_AT_ONCE)):
            if frame is None and not (rest := rest.lstrip(b"\0")):  # padding between streams of .xz
                continue
            frame = frame or start()
            if block := frame.decompress(rest):
                yield block
            rest, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
    if frame is not None:
        raise EOFError("the file ends before its compressed data do")


def _guard(blocks: Iterator[bytes], path: Path) -> Iterator[bytes]:
    """Blocks of a file; a fault inside it is reported by its name."""
    try:
        yield from blocks
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        remedy = "is it damaged?"
        if "memory" in str(error).lower():
            remedy = f"unpack it: that takes more than {WINDOW_BYTES >> 20} MiB of memory"
        raise Malformed(f"{path}: cannot be read ({error}); {remedy}") from None
