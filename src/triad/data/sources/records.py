"""Documents of named fields out of .jsonl, .json, .csv, .tsv, .parquet and .arrow, as they are written.

`fields` are those that are wanted, each with the key of the configuration that names it; `columns` are the
names of a .tsv without a header.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeVar

from triad.data.sources.columnar import COLUMNAR, read_columns
from triad.data.sources.malformed import END, Malformed
from triad.data.sources.opening import TextFile
from triad.data.sources.reading import LONGEST, read_lines, read_text

JSON = (".jsonl", ".json")
WITH_HEADER = (".csv", *COLUMNAR)
LISTED, SHOWN = 20, 40  # names, and characters of each, in an error
WHITE = re.compile(r"[ \t\r\n]*")  # JSON's white space
SURROGATES = re.compile("[\udc80-\udcff]")
Value = TypeVar("Value")
Fields = dict[str, str]


class Record(NamedTuple):
    """Fields by name; their line, row, or number in a .json; the place in words for errors."""

    number: int
    where: str
    fields: Any


def is_table(file: TextFile, columns: list[str] | None = None) -> bool:
    """Whether a file holds records, not one text."""
    return file.kind in (*JSON, *WITH_HEADER) or (file.kind == ".tsv" and columns is not None)


def read_values(
    file: TextFile, fields: Fields, columns: list[str] | None, pick: Callable[[Record], Value]
) -> Iterator[tuple[int, Value]]:
    """The number of each record, and what `pick` makes of it; what is malformed is refused or skipped.

    Under on_error=skip damage to a file ends it. Raises ValueError for a column that is not there.
    """
    empty = True
    try:
        for record in _read_records(file, fields, columns):
            empty = False
            try:
                value = pick(record)
            except Malformed as error:
                file.skipped.meet(file.path, error)
            else:
                yield record.number, value
    except Malformed as error:
        file.skipped.meet(file.path, error)
    if empty and file.path not in file.skipped.last:
        file.skipped.count(file.path, END, "empty")


def check_columns(files: list[TextFile], fields: Fields, columns: list[str] | None = None) -> None:
    """Raise ValueError for a file whose header or schema lacks a column, before the first is read."""
    for file in files:
        if is_table(file, columns) and file.kind not in JSON:
            next(read_values(file, fields, columns, lambda record: record), None)


def _read_records(file: TextFile, fields: Fields, columns: list[str] | None) -> Iterator[Record]:
    if file.kind in JSON:
        return read_json(file)
    if file.kind == ".tsv" and columns is not None:
        return read_tsv(file, fields, columns)
    choose = partial(_choose_columns, file, fields)
    return read_csv(file, choose) if file.kind == ".csv" else _read_rows(file, choose)


def _choose_columns(file: TextFile, fields: Fields, names: list[str]) -> list[str]:
    for field, key in fields.items():
        if names.count(field) != 1:
            number = "two columns" if field in names else "no column"
            raise ValueError(
                f"{file.path}: {number} {field!r} (it has: {_list_names(names)}); set {key}, or leave the "
                "file out"
            )
    return [*fields]


def _list_names(names: list[str]) -> str:
    shown = [name if len(name) <= SHOWN else f"{name[:SHOWN]}..." for name in names[:LISTED]]
    return ", ".join([*shown, *([f"and {len(names) - LISTED} more"] if names[LISTED:] else [])])


def _read_rows(file: TextFile, choose: Callable[[list[str]], list[str]]) -> Iterator[Record]:
    for number, row in enumerate(read_columns(file, choose), 1):
        if isinstance(row, Malformed):
            file.skipped.meet(file.path, row)
        else:
            yield Record(number, f"{file.path}, row {number}", row)


def read_objects(file: TextFile, called: str, pick: Callable[[Record], Value]) -> Iterator[tuple[int, Value]]:
    """The number of each object of a .jsonl or .json, and what `pick` makes of it."""
    if file.kind not in JSON:
        raise ValueError(f"{file.path}: {called} come as .jsonl or .json, an object each")
    return read_values(file, {}, None, pick)


def read_json(file: TextFile) -> Iterator[Record]:
    """One value a line of .jsonl; of a .json, held in memory, what its array has, or its only value."""
    return _read_array(file) if file.kind == ".json" else _read_json_lines(file)


def _read_json_lines(file: TextFile) -> Iterator[Record]:
    for number, line in enumerate(read_lines(file), 1):
        if (start := _skip_white(line, 0)) < len(line):
            where = f"{file.path}, line {number}"
            try:
                value, end = _parse(line, start, where, number)
                if _skip_white(line, end) < len(line):
                    fault = "a second value on the line"
                    raise Malformed(
                        f"{where}: not JSON ({fault}); write one object a line", "not JSON", number
                    )
            except Malformed as error:
                file.skipped.meet(file.path, error)
            else:
                yield Record(number, where, value)


def _read_array(file: TextFile) -> Iterator[Record]:
    text = read_text(file)
    at, number, line, counted = _skip_white(text, 0), 0, 1, 0
    closed = text.startswith("[", at)
    more = not closed or not text.startswith("]", at := _skip_white(text, at + 1))
    while more:
        line, counted = line + text.count("\n", counted, at), at
        value, at = _parse(text, at, f"{file.path}, line {line}", END, file)
        number, at = number + 1, _skip_white(text, at)
        yield Record(number, f"{file.path}, line {line}", value)
        if more := closed and text.startswith(",", at):
            at = _skip_white(text, at + 1)
    unclosed = closed and not text.startswith("]", at)
    at = at if unclosed else _skip_white(text, at + closed)
    line += text.count("\n", counted, at)
    if unclosed:
        raise Malformed(
            f"{file.path}, line {line}: not JSON (neither ',' nor ']' after a value); mend it", "not JSON"
        )
    if at < len(text):
        raise Malformed(
            f"{file.path}, line {line}: not JSON (a second value); the name of a file of one object a line "
            "ends in .jsonl",
            "not JSON",
        )


def _skip_white(text: str, at: int) -> int:
    match = WHITE.match(text, at)
    return match.end() if match else at


def _parse(text: str, at: int, where: str, number: int, whole: TextFile | None = None) -> tuple[Any, int]:
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
    raise Malformed(f"{where}: not JSON ({fault}); mend or remove it", "not JSON", number)


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} comes twice")
    return fields


DECODER = json.JSONDecoder(object_pairs_hook=_refuse_twice)


def get_text(record: Record, field: str, key: str) -> str:
    """The text under a name, which `key` of the configuration says; Malformed where there is none."""
    return get_part(record, field, f"set {key}")


def get_part(record: Record, field: str, remedy: str) -> str:
    """The text under a name; Malformed, with a remedy, where there is none."""
    fields = record.fields
    if not isinstance(fields, dict) or not isinstance(fields.get(field), str):
        names = _list_names([*fields]) if isinstance(fields, dict) else type(fields).__name__
        raise Malformed(
            f"{record.where}: no text under {field!r} (it has: {names}); {remedy}", "no text", record.number
        )
    try:
        fields[field].encode()
    except UnicodeEncodeError:
        fault = "half a surrogate pair is not Unicode; mend or remove it"
        raise Malformed(f"{record.where}: {fault}", "not Unicode", record.number) from None
    return fields[field]


def get_texts(record: Record, field: str, key: str) -> list[str]:
    """The text under a name, or the texts of a list, as strings."""
    fields = record.fields
    texts = fields.get(field) if isinstance(fields, dict) else None
    if not isinstance(texts, list):
        return [get_text(record, field, key)]
    return [
        get_text(record._replace(where=f"{record.where}, {field}[{at}]", fields={field: text}), field, key)
        for at, text in enumerate(texts)
    ]


def read_csv(file: TextFile, choose: Callable[[list[str]], list[str]]) -> Iterator[Record]:
    """The rows of a .csv by the names of its header, by RFC 4180; its number is that of its first line."""
    csv.field_size_limit(LONGEST)  # the default is 131,072 characters
    header: list[str] = []
    first, length, sound = 1, 0, True

    def bound_row() -> Iterator[str]:
        nonlocal length, sound
        for line in read_lines(file, keep=True):
            length += len(line)
            sound &= line.isascii() or not SURROGATES.search(line)  # of malformed lines, counted before
            if length > LONGEST or not line:
                fault = f"the row is longer than {LONGEST:,} characters; is a quote of it not closed?"
                raise Malformed(f"{file.path}, line {first}: {fault}", "too long")
            yield line

    reader = csv.reader(bound_row(), strict=True)
    while True:
        where, row = f"{file.path}, line {first}", []
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            sound = False
            fault = Malformed(f"{where}: not CSV ({error}); mend the line", "not CSV", first)
            file.skipped.meet(file.path, fault)
        if not header and (row or not sound):
            header = _check_header(row, sound, where)
            choose(header)
        elif row and sound:
            if len(row) == len(header):
                yield Record(first, where, dict(zip(header, row, strict=True)))
            else:
                fault = f"fields where the header has {len(header)}: {len(row)}; mend the line"
                file.skipped.meet(file.path, Malformed(f"{where}: {fault}", "ragged row", first))
        first, length, sound = reader.line_num + 1, 0, True


def _check_header(names: list[str], sound: bool, where: str) -> list[str]:
    if not sound:
        raise Malformed(f"{where}: the header, which names the columns, cannot be read; mend it", "no header")
    if len(set(names)) < len(names):
        raise Malformed(
            f"{where}: the header names a column twice ({_list_names(names)}); rename one", "no header"
        )
    return names


def read_tsv(file: TextFile, wanted: Fields, columns: list[str]) -> Iterator[Record]:
    """The lines of a .tsv, which has no quotes; a first line with all `wanted` names is its header."""
    for number, line in enumerate(read_lines(file), 1):
        fields = strip_end(line).split("\t")
        if number == 1:
            is_header = wanted.keys() <= {*fields}
            columns = fields if is_header else columns
            _refuse_unnamed(file, wanted, columns)
            if is_header:
                continue
        if fields == [""]:
            continue
        where = f"{file.path}, line {number}"
        if len(fields) == len(columns):
            yield Record(number, where, dict(zip(columns, fields, strict=True)))
            continue
        fault = f"{len(fields)} columns where data.columns={columns} names {len(columns)}"
        remedy = "mend the line or name the columns of the file"
        file.skipped.meet(file.path, Malformed(f"{where}: {fault}; {remedy}", "ragged row", number))


def _refuse_unnamed(file: TextFile, wanted: Fields, columns: list[str]) -> None:
    for name, key in wanted.items():
        if columns.count(name) != 1:
            number = "two columns" if name in columns else "no column"
            raise ValueError(
                f"{file.path}: {number} {name!r}, neither by a first line nor by data.columns={columns}: set "
                f"{key}, or data.columns to the names of its columns in their order"
            )


def strip_end(line: str) -> str:
    r"""A line without the \n or \r\n that ends it."""
    return line.removesuffix("\n").removesuffix("\r")
