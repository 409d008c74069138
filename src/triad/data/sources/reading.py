"""UTF-8 text out of files: decoded without its byte order mark, whole, in pieces or by lines."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from triad.data.sources.opening import AT_ONCE, TextFile, read_blocks

LONGEST = 100_000_000  # characters of one line, of one row of .csv and of a .json, which are held in memory
MARK = "\ufeff"
NEWLINE = b"\n"


@dataclass(frozen=True)
class Pieces:
    """The text of a file from one character to another, in pieces; read anew at every iteration."""

    file: TextFile
    begin: int = 0
    end: int | None = None

    def __iter__(self) -> Iterator[str]:
        position = 0
        for text in _decode(self.file):
            end = len(text) if self.end is None else max(0, self.end - position)
            if part := text[max(0, self.begin - position) : end]:
                yield part
            position += len(text)
            if self.end is not None and position >= self.end:
                return


def read_pieces(file: TextFile) -> tuple[str] | Pieces:
    """The text of one file, its newlines as they are; a large one is read as it is needed."""
    if not file.packed and file.path.is_file() and file.path.stat().st_size <= AT_ONCE:
        return ("".join(_decode(file)),)
    return Pieces(file)


def read_text(file: TextFile) -> str:
    """The whole of one file that must not be longer than LONGEST."""
    texts, length = [], 0
    for text in _decode(file):
        texts.append(text)
        length += len(text)
        if length > LONGEST:
            raise ValueError(
                f"{file.path}: longer than the {LONGEST:,} characters that are read at once; write one "
                "document a line (.jsonl), which is read line by line"
            )
    return "".join(texts)


def read_lines(file: TextFile) -> Iterator[str]:
    """The lines of one file with their ends, one in memory at a time: only a newline ends one."""
    begun: list[str] = []
    number, length = 1, 0
    for text in _decode(file):
        start = 0
        while start < len(text):
            end = text.find("\n", start) + 1 or len(text)
            begun.append(text[start:end])
            length += end - start
            if length > LONGEST:
                raise ValueError(
                    f"{file.path}, line {number}: longer than the {LONGEST:,} characters that a line may "
                    "have; cut it, or leave the file out"
                )
            if text[end - 1] == "\n":
                yield "".join(begun)
                begun, length, number = [], 0, number + 1
            start = end
    if length:
        yield "".join(begun)


def _decode(file: TextFile) -> Iterator[str]:
    """The text in pieces; what is not UTF-8 is named with its line and its byte, counted from 0."""
    decoder, offset, line, begun = codecs.getincrementaldecoder("utf-8")(), 0, 1, False
    for block in chain(read_blocks(file), [b""]):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            before = error.object[: error.start]  # with what the block before began of a character
            byte = offset + len(block) - len(error.object) + error.start
            raise ValueError(
                f"{file.path}, line {line + before.count(NEWLINE)}: not UTF-8 at byte {byte} "
                f"(0x{error.object[error.start]:02x}); convert it (iconv -f LATIN1 -t UTF-8) or leave it out"
            ) from None
        offset += len(block)
        line += text.count("\n")
        if text:
            yield text if begun else text.removeprefix(MARK)
            begun = True
