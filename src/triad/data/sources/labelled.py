"""Documents with labels, from files."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Annotated, NamedTuple

from triad.data.sources.finding import find, refuse_shared
from triad.data.sources.opening import Quota, TextFile
from triad.data.sources.records import JSON, Record, get_text, read_csv, read_json, read_tsv
from triad.data.sources.source import Document, Labelled, Split, check_fraction, is_in_split


class Names(NamedTuple):
    """What the text and the label are called, and the columns of a .tsv, which has no header."""

    text: str
    label: str
    columns: list[str]


def labelled(
    path: str | list[str],
    val_path: str | list[str] | None,
    val_fraction: float,
    text: str,
    label: str,
    columns: list[str],
    max_bytes: Annotated[int, ">= 1"] | None,
    licence: str | None = None,
) -> Labelled:
    """Documents with labels: .tsv with these `columns`, .csv with a header, .jsonl or .json, or compressed.

    `text` and `label` name what is read of them, as it is written. A first line of .tsv that is the names of
    its columns is a header. Without `val_path` a hash of its text sends a document to training or
    validation. Documents without text are passed over. Raises ValueError, naming file and line, for one
    without a label, and for files of both splits.
    """
    names = Names(text, label, columns)
    if len(set(columns)) != len(columns) or not {text, label} <= set(columns):
        raise ValueError(
            f"data.columns={columns}: the columns of a .tsv in their order, among them data.text={text} and "
            f"data.label={label}"
        )
    quota, said = Quota(max_bytes), f"data.label={label}"
    train = find(path, "data.path", quota)
    if val_path is not None:
        places: dict[Split, list[TextFile]] = {"train": train, "val": find(val_path, "data.val_path", quota)}
        refuse_shared(train, places["val"], "data.path", "data.val_path")
        return Labelled("labelled", partial(read_listed, places, names), licence, said)
    check_fraction(val_fraction)
    return Labelled("labelled", partial(_split_by_text, train, names, val_fraction), licence, said)


def read_listed(places: dict[Split, list[TextFile]], names: Names, split: Split) -> Iterator[Document]:
    return _read_documents(places[split], names)


def _split_by_text(found: list[TextFile], names: Names, fraction: float, split: Split) -> Iterator[Document]:
    for document in _read_documents(found, names):
        if is_in_split(document.text, fraction, split):
            yield document


def _read_documents(found: list[TextFile], names: Names) -> Iterator[Document]:
    for file in found:
        for record in _read_records(file, names):
            text, label = get_text(record, names.text, "data.text"), _get_label(record, names.label)
            if text.strip():
                yield Document(f"{file.name}:{record.number}", text, label)


def _get_label(record: Record, field: str) -> str:
    """The label as text: JSON may have whole numbers and truth values."""
    label = record.fields.get(field)
    if isinstance(label, bool | int):
        return json.dumps(label)
    if (label := get_text(record, field, "data.label")).strip():
        return label
    raise ValueError(f"{record.where}: no label; give it one or remove the line")


def _read_records(file: TextFile, names: Names) -> Iterator[Record]:
    if file.kind in JSON:
        return read_json(file)
    if file.kind == ".csv":
        return read_csv(file)
    if file.kind == ".tsv":
        return read_tsv(file, names.columns)
    raise ValueError(f"{file.path}: labelled documents come as .tsv, .csv, .jsonl or .json, or compressed")
