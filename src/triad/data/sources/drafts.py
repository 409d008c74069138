"""Drafts to be edited: sources, drafts of their translation, and better ones."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated

from triad.data.sources.examples import Drafts
from triad.data.sources.finding import find_file, refuse_shared
from triad.data.sources.malformed import Malformed, OnError, Skipped
from triad.data.sources.opening import Quota, TextFile
from triad.data.sources.parallel import align
from triad.data.sources.records import Record, check_columns, get_text, is_table, read_values
from triad.data.sources.source import Document, Split
from triad.data.sources.splits import check_fraction, is_in_split

SIDES = ("source", "draft", "target")
Places = dict[Split, list[TextFile]]
PREFIXES: dict[Split, str] = {"train": "", "val": "val_", "test": "test_"}


def drafts(
    source: str,
    draft: str | None,
    target: str | None,
    fields: list[str],
    val_source: str | None,
    val_draft: str | None,
    val_target: str | None,
    val_fraction: float,
    test_source: str | None,
    test_draft: str | None,
    test_target: str | None,
    max_bytes: Annotated[int, ">= 1"] | None,
    on_error: OnError,
    licence: str | None = None,
) -> Drafts:
    """Lines of three aligned files; without `draft` and `target` records of three `fields`.

    Records are of .tsv with `fields` as its columns, .jsonl, .json, .csv, .parquet or .arrow. Without
    `val_source` a hash of its texts sends an example to training or validation. Those of which a text is
    blank are passed over and counted. Raises ValueError for files that are not aligned, and for files of two
    splits; of what else is malformed on_error=skip leaves out the example.
    """
    if len({*fields}) != 3:
        raise ValueError(
            f"data.fields={fields}: the names of the source's, the draft's and the target's text"
        )
    quota = Quota(max_bytes)
    asked: dict[Split, tuple[str | None, ...]] = {
        "train": (source, draft, target),
        "val": (val_source, val_draft, val_target),
        "test": (test_source, test_draft, test_target),
    }
    places: Places = {}
    skipped = Skipped(on_error)
    for split, paths in asked.items():
        if paths[0] is not None:
            own = Skipped(on_error) if split == "test" else skipped
            found = _find_files(paths, fields, PREFIXES[split], quota, own)
            for other, files in places.items():
                keys = (f"data.{PREFIXES[one]}source" for one in (other, split))
                refuse_shared(files[:1], found[:1], *keys)
            places[split] = found
    if "val" not in places:
        check_fraction(val_fraction)
    tested = places.pop("test", None)
    test = partial(_read_whole, tested, fields) if tested else None
    return Drafts("drafts", partial(_read_split, places, fields, val_fraction), licence, read_test=test)


def _find_files(
    paths: tuple[str | None, ...], fields: list[str], prefix: str, quota: Quota, skipped: Skipped
) -> list[TextFile]:
    """The three files of a split, or the one that has all."""
    keys = [f"data.{prefix}{side}" for side in SIDES]
    found = [find_file(p, key, quota, skipped) for p, key in zip(paths, keys, strict=True) if p is not None]
    if len(found) == 1 and not is_table(found[0], fields):
        raise ValueError(
            f"{found[0].path}: drafts come as records (.tsv, .csv, .jsonl, .json, .parquet, .arrow) or as "
            f"three aligned files, {', '.join(keys)}"
        )
    if len(found) == 2:
        raise ValueError(f"{keys[1]} and {keys[2]}: two aligned files and the source's, or neither")
    if len(found) == 1:
        check_columns(found, dict.fromkeys(fields, "data.fields"), fields)
    for file in found[1:] and found:
        if is_table(file):
            raise ValueError(f"{file.path}: aligned files hold a sentence a line; a {file.kind} stands alone")
    return found


def _read_split(places: Places, fields: list[str], fraction: float, split: Split) -> Iterator[Document]:
    for document in _read_whole(places.get(split, places["train"]), fields, split):
        if "val" in places or is_in_split(document.text, fraction, split):
            yield document


def _read_whole(files: list[TextFile], fields: list[str], split: Split) -> Iterator[Document]:
    for number, texts in _read_texts(files, fields):
        if all(text.strip() for text in texts):
            yield Drafts.describe(f"{number}", dict(zip(SIDES, texts, strict=True)))
        else:
            files[0].skipped.count(files[0].path, number, "empty")


def _read_texts(files: list[TextFile], fields: list[str]) -> Iterator[tuple[int, list[str]]]:
    try:
        if len(files) > 1:
            yield from align(files)
        else:
            named = dict.fromkeys(fields, "data.fields")
            yield from read_values(files[0], named, fields, partial(_get_texts, fields))
    except Malformed as error:
        files[0].skipped.meet(files[0].path, error)


def _get_texts(fields: list[str], record: Record) -> list[str]:
    return [get_text(record, field, "data.fields") for field in fields]
