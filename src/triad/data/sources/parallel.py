"""Parallel text: sentences and their translations."""

from collections.abc import Iterator
from functools import partial
from itertools import zip_longest
from typing import Annotated

from triad.data.sources.finding import find_file, refuse_shared
from triad.data.sources.html import SGML, read_sgml
from triad.data.sources.malformed import Malformed, OnError, Skipped
from triad.data.sources.opening import Quota, TextFile
from triad.data.sources.reading import read_lines, read_text
from triad.data.sources.records import Record, check_columns, get_text, is_table, read_values, strip_end
from triad.data.sources.source import Document, ParallelText, Split
from triad.data.sources.splits import check_fraction, is_in_split

Pair = tuple[str, str]
Place = tuple[TextFile, TextFile | None]


def parallel(
    source: str,
    target: str | None,
    fields: list[str],
    val_source: str | None,
    val_target: str | None,
    val_fraction: float,
    max_bytes: Annotated[int, ">= 1"] | None,
    on_error: OnError,
    licence: str | None = None,
) -> ParallelText:
    """Pairs of lines of two aligned files; without `target` of one .tsv, or of records with two `fields`.

    Lines are segments in .sgm; records are of .jsonl, .json, .csv, .parquet or .arrow. Blanks around a line
    are no part of it. Each pair becomes two documents, the source's and the target's, so that one tokenizer
    learns from both. Without `val_source` a hash of its two texts sends a pair to training or validation.
    Pairs of which a side is blank are passed over and counted. Raises ValueError for files that are not
    aligned, and for files of both splits; of what else is malformed on_error=skip leaves out both sides.
    """
    if len(fields) != 2:
        raise ValueError(f"data.fields={fields}: the names of the source's and of the target's text")
    quota, skipped = Quota(max_bytes), Skipped(on_error)
    train = _find_place(source, target, fields, "", quota, skipped)
    if val_source is not None:
        val = _find_place(val_source, val_target, fields, "val_", quota, skipped)
        places: dict[Split, Place] = {"train": train, "val": val}
        refuse_shared([train[0]], [places["val"][0]], "data.source", "data.val_source")
        read = partial(_read_files, places, fields)
    else:
        check_fraction(val_fraction)
        read = partial(_split_by_text, train, fields, val_fraction)
    return ParallelText("parallel", read, licence)


def _find_place(
    source: str, target: str | None, fields: list[str], prefix: str, quota: Quota, skipped: Skipped
) -> Place:
    """The file or the two files of one split."""
    first = find_file(source, f"data.{prefix}source", quota, skipped)
    if target is None:
        check_columns([first], dict.fromkeys(fields, "data.fields"))
        return first, None
    for file in (second := find_file(target, f"data.{prefix}target", quota, skipped), first):
        if is_table(file):
            raise ValueError(
                f"{file.path}: aligned files hold a sentence a line; give a {file.kind} that has both sides "
                f"alone, data.{prefix}target=null with data.fields"
            )
    return first, second


def _read_files(places: dict[Split, Place], fields: list[str], split: Split) -> Iterator[Document]:
    for number, pair in _read_pairs(places[split], fields):
        yield from _make_documents(number, pair)


def _split_by_text(place: Place, fields: list[str], fraction: float, split: Split) -> Iterator[Document]:
    for number, pair in _read_pairs(place, fields):
        if is_in_split("\n".join(pair), fraction, split):
            yield from _make_documents(number, pair)


def _make_documents(number: int, pair: Pair) -> Iterator[Document]:
    for side, text in zip(("source", "target"), pair, strict=True):
        yield Document(f"{number}:{side}", text)


def _read_pairs(place: Place, fields: list[str]) -> Iterator[tuple[int, Pair]]:
    """Number and texts of each pair that has both."""
    source = place[0]
    try:
        for number, (first, second) in _read_texts(*place, fields):
            if first.strip() and second.strip():
                yield number, (first, second)
            else:
                source.skipped.count(source.path, number, "empty")
    except Malformed as error:
        source.skipped.meet(source.path, error)


def _read_texts(source: TextFile, target: TextFile | None, fields: list[str]) -> Iterator[tuple[int, Pair]]:
    if target is not None:
        return _align(source, target)
    if is_table(source):
        named = dict.fromkeys(fields, "data.fields")
        return read_values(source, named, None, partial(_get_pair, fields))
    return _split_columns(source)


def _get_pair(fields: list[str], record: Record) -> Pair:
    first, second = (get_text(record, field, "data.fields") for field in fields)
    return first, second


def _align(source: TextFile, target: TextFile) -> Iterator[tuple[int, Pair]]:
    lines = zip_longest(_read_side(source), _read_side(target))
    for number, (first, second) in enumerate(lines, 1):
        if first is None or second is None:
            sizes = number - 1, number + sum(1 for _ in lines)
            sizes = sizes if first is None else sizes[::-1]
            raise ValueError(
                f"{source.path} has {sizes[0]} lines, {target.path} {sizes[1]}, so line {number} of one has "
                "no translation: aligned files have as many"
            )
        if first and second:  # a malformed line, which was counted, is ""
            yield number, (first.strip(), second.strip())


def _read_side(file: TextFile) -> Iterator[str]:
    """The lines of a file, of SGML its segments."""
    if file.kind not in SGML:
        return read_lines(file)
    return (f"{line}\n" for _, lines in read_sgml(file, read_text(file)) for line in lines)


def _split_columns(source: TextFile) -> Iterator[tuple[int, Pair]]:
    for number, line in enumerate(read_lines(source), 1):
        columns = strip_end(line).split("\t")
        if len(columns) > 1:
            yield number, (columns[0].strip(), columns[1].strip())
        elif line:
            fault = "one column where a .tsv has source and target"
            remedy = "two aligned files are data.source=FILE data.target=FILE"
            error = Malformed(f"{source.path}, line {number}: {fault}; {remedy}", "ragged row", number)
            source.skipped.meet(source.path, error)
