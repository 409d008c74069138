"""Text files."""

from functools import partial
from typing import Annotated

from triad.data.sources import source
from triad.data.sources.finding import find, refuse_shared
from triad.data.sources.opening import Quota, TextFile
from triad.data.sources.records import JSON
from triad.data.sources.source import Split, Text


def text(
    path: str | list[str],
    field: str,
    val_fraction: float,
    val_path: str | list[str] | None,
    max_bytes: Annotated[int, ">= 1"] | None,
    licence: str | None = None,
) -> Text:
    """Files, folders and globs of UTF-8 text, plain or compressed; of .jsonl each line is a document.

    .ndjson is .jsonl, and a .json holds an array of documents, or one. Without `val_path` a hash of a file's
    name or of a record's text sends it to training or validation, so that adding some moves no other; a
    single plain file is cut by position, its last `val_fraction` for validation. Raises ValueError for files
    of both splits. `licence` is recorded with what is made of the text.
    """
    quota = Quota(max_bytes)
    train = find(path, "data.path", quota)
    if val_path is not None:
        splits: dict[Split, list[TextFile]] = {"train": train, "val": find(val_path, "data.val_path", quota)}
        refuse_shared(train, splits["val"], "data.path", "data.val_path")
        return Text("text", partial(source.read_listed, splits, field), licence)
    source.check_fraction(val_fraction)
    if len(train) == 1 and train[0].kind not in JSON:
        return Text("text", partial(source.split_by_position, train[0], val_fraction), licence)
    return Text("text", partial(source.split_by_hash, train, field, val_fraction), licence)
