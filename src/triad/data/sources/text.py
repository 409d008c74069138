"""Text files."""

from functools import partial

from triad.data.sources import reading as files
from triad.data.sources import source
from triad.data.sources.reading import Found
from triad.data.sources.source import Split, Text


def text(
    path: str | list[str],
    field: str,
    val_fraction: float,
    val_path: str | list[str] | None,
    licence: str | None = None,
) -> Text:
    """Files, folders and globs of UTF-8 text, plain or compressed; each line of .jsonl is a document.

    Without `val_path` a hash of its name sends a document to training or validation, so that adding files
    moves no other; a single plain file is cut by position, its last `val_fraction` for validation.
    `licence` is recorded with what is made of the text.
    """
    train = files.find(path, "data.path")
    if val_path is not None:
        splits: dict[Split, list[Found]] = {"train": train, "val": files.find(val_path, "data.val_path")}
        return Text("text", partial(source.read_listed, splits, field), licence)
    source.check_fraction(val_fraction)
    if len(train) == 1 and not files.is_jsonl(train[0].path):
        return Text("text", partial(source.split_by_position, train[0], val_fraction), licence)
    return Text("text", partial(source.split_by_name, train, field, val_fraction), licence)
