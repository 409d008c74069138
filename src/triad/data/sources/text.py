"""Text files."""

from functools import partial
from typing import Annotated

from triad.data.sources.malformed import OnError, Skipped
from triad.data.sources.opening import Quota
from triad.data.sources.records import check_columns, is_table
from triad.data.sources.source import Reader, Text
from triad.data.sources.splits import (
    find_splits,
    find_test,
    get_document_text,
    make_test_reader,
    read_documents,
    read_split,
    split_by_hash,
    split_by_position,
)


def text(
    path: str | list[str],
    field: str,
    val_fraction: float,
    val_path: str | list[str] | None,
    test_path: str | list[str] | None,
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
    quota, read = Quota(max_bytes), partial(read_documents, field, columns)
    files = find_splits(path, val_path, val_fraction, quota, Skipped(on_error))
    test = find_test(test_path, files, quota, on_error)
    check_columns(
        [file for found in (*files.values(), test) for file in found], {field: "data.field"}, columns
    )
    train = files["train"]
    if "val" in files:
        reader: Reader = partial(read_split, read, files, get_document_text, val_fraction)
    elif len(train) == 1 and not is_table(train[0], columns):
        reader = partial(split_by_position, train[0], val_fraction)
    else:
        reader = partial(split_by_hash, train, field, columns, val_fraction)
    return Text("text", reader, licence, read_test=make_test_reader(read, test))
