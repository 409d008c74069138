"""Pairs of texts with a label, from files: entailment, similarity, stance toward a target."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated, NamedTuple

from triad.data.sources.examples import LabelledPairs, Paths, read_splits
from triad.data.sources.labelled import get_label
from triad.data.sources.malformed import OnError
from triad.data.sources.opening import TextFile
from triad.data.sources.records import Record, check_columns, get_text, is_table, read_values
from triad.data.sources.source import Document


class Names(NamedTuple):
    """What the two texts and the label are called, and the columns of a .tsv without a header."""

    text: str
    second: str
    label: str
    columns: list[str]

    @property
    def fields(self) -> dict[str, str]:
        return {self.text: "data.text", self.second: "data.second", self.label: "data.label"}


def labelled_pairs(
    path: Paths,
    val_path: Paths | None,
    val_fraction: float,
    test_path: Paths | None,
    text: str,
    second: str,
    label: str,
    columns: list[str],
    max_bytes: Annotated[int, ">= 1"] | None,
    on_error: OnError,
    licence: str | None = None,
) -> LabelledPairs:
    """Two texts and a label: .tsv with these `columns`, .csv with a header, .jsonl, .json, .parquet, .arrow.

    `text`, `second` and `label` name what is read, as it is written; for a target's sentiment the second text
    is the target. Without `val_path` a hash of both texts sends a pair to training or validation. Pairs of
    which a text is blank are passed over and counted. Raises ValueError, naming file and line, for one
    without a label unless on_error=skip, and for files of two splits.
    """
    names = Names(text, second, label, columns)
    read, paths = partial(_read_pairs, names), (path, val_path, test_path)
    check = partial(check_columns, fields=names.fields, columns=columns)
    rest = val_fraction, max_bytes, on_error, licence
    return read_splits(LabelledPairs, "labelled_pairs", read, paths, *rest, check=check)


def _read_pairs(names: Names, file: TextFile) -> Iterator[Document]:
    if not is_table(file, names.columns):
        raise ValueError(f"{file.path}: labelled pairs come as .tsv, .csv, .jsonl, .json, .parquet or .arrow")
    for number, pair in read_values(file, names.fields, names.columns, partial(_get_pair, names)):
        if pair["text"].strip() and pair["second"].strip():
            yield LabelledPairs.describe(f"{file.name}:{number}", pair)
        else:
            file.skipped.count(file.path, number, "empty")


def _get_pair(names: Names, record: Record) -> dict[str, str]:
    text, second = get_text(record, names.text, "data.text"), get_text(record, names.second, "data.second")
    return {"text": text, "second": second, "label": get_label(record, names.label)}
