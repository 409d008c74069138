"""Documents with labels, from files."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Annotated, NamedTuple

from triad.data.sources.malformed import Malformed, OnError, Skipped
from triad.data.sources.opening import Quota, TextFile
from triad.data.sources.records import Record, check_columns, get_text, is_table, read_values
from triad.data.sources.source import Document, Labelled
from triad.data.sources.splits import find_splits, find_test, get_document_text, make_test_reader, read_split


class Names(NamedTuple):
    """What the text and the label are called, and the columns of a .tsv without a header."""

    text: str
    label: str
    columns: list[str]

    @property
    def fields(self) -> dict[str, str]:
        return {self.text: "data.text", self.label: "data.label"}


def labelled(
    path: str | list[str],
    val_path: str | list[str] | None,
    val_fraction: float,
    test_path: str | list[str] | None,
    text: str,
    label: str,
    columns: list[str],
    max_bytes: Annotated[int, ">= 1"] | None,
    on_error: OnError,
    licence: str | None = None,
) -> Labelled:
    """Documents with labels: .tsv with these `columns`, .csv with a header, .jsonl, .json, .parquet, .arrow.

    `text` and `label` name what is read of them, as it is written. A first line of .tsv with both names is
    a header. Without `val_path` a hash of its text sends a document to training or
    validation. Documents without text are passed over and counted. Raises ValueError, naming file and line,
    for one without a label unless on_error=skip, and for files of both splits.
    """
    names = Names(text, label, columns)
    quota, read = Quota(max_bytes), partial(read_labelled, names)
    files = find_splits(path, val_path, val_fraction, quota, Skipped(on_error))
    test = find_test(test_path, files, quota, on_error)
    check_columns([file for found in (*files.values(), test) for file in found], names.fields, columns)
    reader = partial(read_split, read, files, get_document_text, val_fraction)
    return Labelled(
        "labelled", reader, licence, f"data.label={label}", read_test=make_test_reader(read, test)
    )


def read_labelled(names: Names, file: TextFile) -> Iterator[Document]:
    """The documents of a file that have text."""
    if not is_table(file, names.columns):
        raise ValueError(
            f"{file.path}: labelled documents come as .tsv, .csv, .jsonl, .json, .parquet or .arrow"
        )
    values = read_values(file, names.fields, names.columns, partial(_get_labelled, names))
    for number, (text, label) in values:
        if text.strip():
            yield Document(f"{file.name}:{number}", text, label)
        else:
            file.skipped.count(file.path, number, "empty")


def _get_labelled(names: Names, record: Record) -> tuple[str, str]:
    return get_text(record, names.text, "data.text"), get_label(record, names.label)


def get_label(record: Record, field: str) -> str:
    """The label, which JSON and .parquet may have as a whole number or a truth value."""
    label = record.fields.get(field)
    if isinstance(label, bool | int):
        return json.dumps(label)
    if (label := get_text(record, field, "data.label")).strip():
        return label
    raise Malformed(f"{record.where}: no label; give it one or remove the line", "no label", record.number)
