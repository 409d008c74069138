"""UTF-8 text out of files: decoded without its byte order mark, whole, in pieces or by lines."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from triad.data.sources.malformed import END, Malformed
from triad.data.sources.opening import AT_ONCE, TextFile, read_blocks

LONGEST = 100_000_000  # bytes of a line, characters of a row of .csv or of a .json: these are held in memory
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
            raise Malformed(
                f"{file.path}: longer than the {LONGEST:,} characters that are read at once; write one "
                "document a line (.jsonl), which is read line by line",
                "too long",
            )
    return "".join(texts)


def read_lines(file: TextFile, keep: bool = False) -> Iterator[str]:
    """The lines of one file with their ends, one in memory at a time: only a newline ends one.

    A line that is too long or not UTF-8 is malformed: where such lines are skipped it comes as "", so that
    the others keep their numbers; with `keep` the bytes that are not UTF-8 come as surrogates instead.
    """
    begun: list[bytes] = []  # of the line that has no end yet
    number, length, offset = 1, 0, 0  # its number, its bytes so far, and its first byte
    for block in read_blocks(file):
        end = block.find(NEWLINE) + 1
        length += end or len(block)
        if length <= LONGEST:
            begun.append(block[: end or None])
        elif begun:
            begun.clear()
            fault = f"longer than the {LONGEST:,} bytes that a line may have; cut it, or leave the file out"
            error = Malformed(f"{file.path}, line {number}: {fault}", "too long", number)
            file.skipped.meet(file.path, error)
        if end:
            yield _decode_line(b"".join(begun), file, number, offset, keep)
            last = block.rfind(NEWLINE) + 1
            yield from _decode_lines(block[end:last], file, number + 1, offset + length, keep)
            number += 1 + block.count(NEWLINE, end)
            offset += length + last - end
            begun, length = [block[last:]], len(block) - last
    rest = b"".join(begun)
    if length and not (number == 1 and rest == MARK.encode()):
        yield _decode_line(rest, file, number, offset, keep)


def _decode_lines(block: bytes, file: TextFile, number: int, offset: int, keep: bool) -> Iterator[str]:
    """Lines of a block that all end in it: together, which is the faster, unless one is not UTF-8."""
    try:
        lines = block.decode().split("\n")
    except UnicodeDecodeError:
        for line in block.split(NEWLINE)[:-1]:
            yield _decode_line(line + NEWLINE, file, number, offset, keep)
            number, offset = number + 1, offset + len(line) + 1
    else:
        yield from (f"{line}\n" for line in lines[:-1])


def _decode_line(line: bytes, file: TextFile, number: int, offset: int, keep: bool) -> str:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        at = error.start
        file.skipped.meet(file.path, _tell_not_utf8(file, number, offset + at, line[at], number))
        text = line.decode(errors="surrogateescape") if keep else ""
    return text.removeprefix(MARK) if number == 1 else text


def _tell_not_utf8(file: TextFile, line: int, offset: int, byte: int, number: int) -> Malformed:
    return Malformed(
        f"{file.path}, line {line}: not UTF-8 at byte {offset} (0x{byte:02x}); convert it "
        "(iconv -f LATIN1 -t UTF-8) or leave it out",
        "not UTF-8",
        number,
    )


def _decode(file: TextFile) -> Iterator[str]:
    """The text in pieces; what is not UTF-8 is named with its line and its byte, counted from 0."""
    decoder, offset, line, begun = codecs.getincrementaldecoder("utf-8")(), 0, 1, False
    for block in chain(read_blocks(file), [b""]):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            before = error.object[: error.start]  # with what the block before began of a character
            at = offset + len(block) - len(error.object) + error.start
            byte = error.object[error.start]
            raise _tell_not_utf8(file, line + before.count(NEWLINE), at, byte, END) from None
        offset += len(block)
        line += text.count("\n")
        if text:
            yield text if begun else text.removeprefix(MARK)
            begun = True
