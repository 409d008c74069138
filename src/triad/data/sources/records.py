"""Documents of named fields out of .jsonl, .json, .csv and .tsv, their values as they are written."""

import csv
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from triad.data.sources.opening import TextFile
from triad.data.sources.reading import LONGEST, read_lines, read_text

JSON = (".jsonl", ".json")
WHITE = re.compile(r"[ \t\r\n]*")  # JSON's white space


class Record(NamedTuple):
    """Fields by name; their line, in a .json the number of the document; the place in words for errors."""

    number: int
    where: str
    fields: Any


def read_json(file: TextFile) -> Iterator[Record]:
    """One value a line of .jsonl; of a .json, held in memory, what its array has, or its only value."""
    return _read_array(file) if file.kind == ".json" else _read_json_lines(file)


def _read_json_lines(file: TextFile) -> Iterator[Record]:
    for number, line in enumerate(read_lines(file), 1):
        if (start := _skip_white(line, 0)) < len(line):
            where = f"{file.path}, line {number}"
            value, end = _parse(line, start, where)
            if _skip_white(line, end) < len(line):
                raise ValueError(f"{where}: not JSON (a second value on the line); write one object a line")
            yield Record(number, where, value)


def _read_array(file: TextFile) -> Iterator[Record]:
    text = read_text(file)
    at, number, line, counted = _skip_white(text, 0), 0, 1, 0
    closed = text.startswith("[", at)
    more = not closed or not text.startswith("]", at := _skip_white(text, at + 1))
    while more:
        line, counted = line + text.count("\n", counted, at), at
        value, at = _parse(text, at, f"{file.path}, line {line}", file)
        number, at = number + 1, _skip_white(text, at)
        yield Record(number, f"{file.path}, line {line}", value)
        if more := closed and text.startswith(",", at):
            at = _skip_white(text, at + 1)
    unclosed = closed and not text.startswith("]", at)
    at = at if unclosed else _skip_white(text, at + closed)
    line += text.count("\n", counted, at)
    if unclosed:
        raise ValueError(f"{file.path}, line {line}: not JSON (neither ',' nor ']' after a value); mend it")
    if at < len(text):
        raise ValueError(
            f"{file.path}, line {line}: not JSON (a second value); the name of a file of one object a line "
            "ends in .jsonl"
        )


def _skip_white(text: str, at: int) -> int:
    match = WHITE.match(text, at)
    return match.end() if match else at


def _parse(text: str, at: int, where: str, whole: TextFile | None = None) -> tuple[Any, int]:
    """The value that begins here, and its end; `whole` is the file if the text is all of it."""
    try:
        return DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        fault = f"{error.msg}, column {error.colno}"
        where = f"{whole.path}, line {error.lineno}" if whole else where
    except RecursionError:
        fault = "nested too deeply"
    except ValueError as error:  # of a key that comes twice, or a number of thousands of digits
        fault = str(error)
    raise ValueError(f"{where}: not JSON ({fault}); mend or remove it")


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} comes twice")
    return fields


DECODER = json.JSONDecoder(object_pairs_hook=_refuse_twice)


def get_text(record: Record, field: str, key: str) -> str:
    """The text under a name, which `key` of the configuration says; ValueError where there is none."""
    fields = record.fields
    if not isinstance(fields, dict) or not isinstance(fields.get(field), str):
        names = ", ".join(fields) if isinstance(fields, dict) else type(fields).__name__
        raise ValueError(f"{record.where}: no text under {field!r} (it has: {names}); set {key}")
    try:
        fields[field].encode()
    except UnicodeEncodeError:
        raise ValueError(f"{record.where}: half a surrogate pair is not Unicode; mend or remove it") from None
    return fields[field]


def read_csv(file: TextFile) -> Iterator[Record]:
    """The rows of a .csv by the names of its header, by RFC 4180; its number is that of its first line."""
    csv.field_size_limit(LONGEST)  # the default is 131,072 characters
    header: list[str] = []
    first, length = 1, 0

    def bound_row() -> Iterator[str]:
        nonlocal length
        for line in read_lines(file):
            length += len(line)
            if length > LONGEST:
                raise ValueError(
                    f"{file.path}, line {first}: the row is longer than {LONGEST:,} characters; is a quote "
                    "of it not closed?"
                )
            yield line

    reader = csv.reader(bound_row(), strict=True)
    try:
        for row in reader:
            where = f"{file.path}, line {first}"
            if not header:
                header = row
                _check_header(header, where)
            elif row:
                if len(row) != len(header):
                    raise ValueError(
                        f"{where}: fields where the header has {len(header)}: {len(row)}; mend the line"
                    )
                yield Record(first, where, dict(zip(header, row, strict=True)))
            first, length = reader.line_num + 1, 0
    except csv.Error as error:
        raise ValueError(f"{file.path}, line {first}: not CSV ({error}); mend the line") from None


def _check_header(names: list[str], where: str) -> None:
    if len(set(names)) < len(names):
        raise ValueError(f"{where}: the header names a column twice ({', '.join(names)}); rename one")


def read_tsv(file: TextFile, columns: list[str]) -> Iterator[Record]:
    """The lines of a .tsv, which has no quotes, by these names; a first line of the names is a header."""
    for number, line in enumerate(read_lines(file), 1):
        fields = strip_end(line).split("\t")
        if fields == [""] or (number == 1 and fields == columns):
            continue
        where = f"{file.path}, line {number}"
        if len(fields) != len(columns):
            raise ValueError(
                f"{where}: {len(fields)} columns where data.columns={columns} names {len(columns)}; mend the "
                "line or name the columns of the file"
            )
        yield Record(number, where, dict(zip(columns, fields, strict=True)))


def strip_end(line: str) -> str:
    r"""A line without the \n or \r\n that ends it."""
    return line.removesuffix("\n").removesuffix("\r")
