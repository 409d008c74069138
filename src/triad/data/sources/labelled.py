"""Documents with labels, from files."""

import csv
import io
from collections.abc import Iterator
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from triad.data.sources import reading as files
from triad.data.sources.reading import Found
from triad.data.sources.source import Document, Labelled, Split


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
    licence: str | None = None,
) -> Labelled:
    """Documents with labels: .tsv with these `columns`, .csv with a header, or .jsonl; plain or compressed.

    `text` and `label` name what is read of them. A first line of .tsv that is the names of its columns is a
    header. Without `val_path` a hash of file and line sends a document to training or validation. Documents
    without text are passed over. Raises ValueError, naming file and line, for one without a label.
    """
    names = Names(text, label, columns)
    if len(set(columns)) != len(columns) or not {text, label} <= set(columns):
        raise ValueError(
            f"data.columns={columns}: the columns of a .tsv in their order, among them data.text={text} and "
            f"data.label={label}"
        )
    train = files.find(path, "data.path")
    if val_path is not None:
        places: dict[Split, list[Found]] = {"train": train, "val": files.find(val_path, "data.val_path")}
        return Labelled("labelled", partial(read_listed, places, names), licence)
    check_fraction(val_fraction)
    return Labelled("labelled", partial(_split_by_line, train, names, val_fraction), licence)


def check_fraction(fraction: float) -> None:
    if not 0 < fraction < 1:
        raise ValueError(f"data.val_fraction={fraction}: must lie between 0 and 1, such as 0.1")


def read_listed(places: dict[Split, list[Found]], names: Names, split: Split) -> Iterator[Document]:
    return _read_documents(places[split], names)


def _split_by_line(found: list[Found], names: Names, fraction: float, split: Split) -> Iterator[Document]:
    for document in _read_documents(found, names):
        if (hash_name(document.name) / 2**64 < fraction) == (split == "val"):
            yield document


def hash_name(name: str) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")


def _read_documents(found: list[Found], names: Names) -> Iterator[Document]:
    for name, path in found:
        for number, row in _read_rows(path, names):
            where = f"{path}, line {number}"
            text = files.get_text(row, names.text, where, "data.text").strip()
            label = _get_label(row, names.label, where)
            if text:
                yield Document(f"{name}:{number}", text, label)


def _get_label(row: dict, field: str, where: str) -> str:
    """The label as text: JSON may have numbers and truth values."""
    if isinstance(row.get(field), bool | int):
        row = {field: str(row[field])}
    if label := files.get_text(row, field, where, "data.label").strip():
        return label
    raise ValueError(f"{where}: no label; give it one or remove the line")


def _read_rows(path: Path, names: Names) -> Iterator[tuple[int, Any]]:
    """Line number and fields by name of each document of a file."""
    if files.is_jsonl(path):
        return files.read_json_lines(path)
    kinds = set(path.suffixes[-2:])
    if ".csv" in kinds:
        return _read_csv(path)
    if ".tsv" in kinds:
        return _read_tsv(path, names.columns)
    raise ValueError(f"{path}: labelled documents come as .tsv, .csv or .jsonl, plain or compressed")


def _read_csv(path: Path) -> Iterator[tuple[int, dict]]:
    reader = csv.DictReader(_split_at_returns(files.read_lines(path)), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                wanted = len(reader.fieldnames or ())
                raise ValueError(f"{path}, line {reader.line_num}: not the {wanted} fields of the header")
            yield reader.line_num, row
    except csv.Error as error:
        line = reader.reader.line_num  # DictReader's own is of the row before
        raise ValueError(f"{path}, line {line}: not CSV ({error}); mend the line") from None


def _split_at_returns(lines: Iterator[str]) -> Iterator[str]:
    """Lines of which a carriage return alone ends one, too."""
    for line in lines:
        yield from io.StringIO(line, newline="")


def _read_tsv(path: Path, columns: list[str]) -> Iterator[tuple[int, dict]]:
    for number, line in enumerate(files.read_lines(path), 1):
        fields = line.removesuffix("\n").removesuffix("\r").split("\t")
        if fields == [""] or (number == 1 and fields == columns):
            continue
        if len(fields) != len(columns):
            raise ValueError(
                f"{path}, line {number}: {len(fields)} columns where data.columns={columns} names "
                f"{len(columns)}"
            )
        yield number, dict(zip(columns, fields, strict=True))
