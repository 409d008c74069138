"""Text files."""

from functools import partial
from typing import Annotated

from triad.data.sources import source
from triad.data.sources.finding import find, refuse_shared
from triad.data.sources.malformed import OnError, Skipped
from triad.data.sources.opening import Quota, TextFile
from triad.data.sources.records import check_columns, is_table
from triad.data.sources.source import Split, Text


def text(
    path: str | list[str],
    field: str,
    val_fraction: float,
    val_path: str | list[str] | None,
    max_bytes: Annotated[int, ">= 1"] | None,
    columns: list[str] | None,
    on_error: OnError,
    licence: str | None = None,
) -> Text:
    """Files, folders and globs of UTF-8 text, plain or compressed, and of records with a `field` of text.

    Each line of .jsonl (or .ndjson), each element of the array of a .json and each row of .csv, .parquet and
    .arrow is a document, and so is each line of .tsv, which has these `columns`, unless they are null.
    Without `val_path` a hash of a file's name or of a record's text sends it to training or validation, so
    that adding some moves no other; a single plain file is cut by position, its last `val_fraction` for
    validation. With on_error=skip what is malformed is left out and counted. Raises ValueError for a column
    that is not there, and for files of both splits. `licence` is recorded with what is made of the text.
    """
    quota, skipped = Quota(max_bytes), Skipped(on_error)
    train = find(path, "data.path", quota, skipped)
    splits: dict[Split, list[TextFile]] = {"train": train, "val": []}
    if val_path is not None:
        splits["val"] = find(val_path, "data.val_path", quota, skipped)
        refuse_shared(train, splits["val"], "data.path", "data.val_path")
    check_columns(train + splits["val"], {field: "data.field"}, columns)
    if val_path is not None:
        return Text("text", partial(source.read_listed, splits, field, columns), licence)
    source.check_fraction(val_fraction)
    if len(train) == 1 and not is_table(train[0], columns):
        return Text("text", partial(source.split_by_position, train[0], val_fraction), licence)
    return Text("text", partial(source.split_by_hash, train, field, columns, val_fraction), licence)
