"""Parallel text: sentences and their translations."""

from collections.abc import Iterator
from functools import partial
from itertools import zip_longest
from typing import Annotated

from triad.data.sources.finding import find_file, refuse_shared
from triad.data.sources.opening import Quota, TextFile
from triad.data.sources.reading import read_lines
from triad.data.sources.records import JSON, get_text, read_json, strip_end
from triad.data.sources.source import Document, ParallelText, Split, check_fraction, is_in_split

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
    licence: str | None = None,
) -> ParallelText:
    """Pairs of lines: of two aligned files, or without `target` of one .tsv, or .jsonl with two `fields`.

    Plain or compressed; blanks around a line are no part of it. Each pair becomes two documents, the source's
    and the target's, so that one tokenizer learns from both. Without `val_source` a hash of its two texts
    sends a pair to training or validation. Pairs of which a side is blank are passed over. Raises ValueError
    for files that are not aligned, and for files of both splits.
    """
    if len(fields) != 2:
        raise ValueError(f"data.fields={fields}: the names of the source's and of the target's text")
    quota = Quota(max_bytes)
    train = _find_place(source, target, "", quota)
    if val_source is not None:
        places: dict[Split, Place] = {
            "train": train,
            "val": _find_place(val_source, val_target, "val_", quota),
        }
        refuse_shared([train[0]], [places["val"][0]], "data.source", "data.val_source")
        read = partial(_read_files, places, fields)
    else:
        check_fraction(val_fraction)
        read = partial(_split_by_text, train, fields, val_fraction)
    return ParallelText("parallel", read, licence)


def _find_place(source: str, target: str | None, prefix: str, quota: Quota) -> Place:
    """The file or the two files of one split."""
    first = find_file(source, f"data.{prefix}source", quota)
    if target is None:
        return first, None
    for file in (second := find_file(target, f"data.{prefix}target", quota), first):
        if file.kind in JSON:
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
    for number, (first, second) in enumerate(_read_texts(*place, fields), 1):
        if first.strip() and second.strip():
            yield number, (first, second)


def _read_texts(source: TextFile, target: TextFile | None, fields: list[str]) -> Iterator[Pair]:
    if target is not None:
        return _align(source, target)
    if source.kind in JSON:
        return _read_fields(source, fields)
    return _split_columns(source)


def _align(source: TextFile, target: TextFile) -> Iterator[Pair]:
    lines = zip_longest(read_lines(source), read_lines(target))
    for number, (first, second) in enumerate(lines, 1):
        if first is None or second is None:
            sizes = number - 1, number + sum(1 for _ in lines)
            sizes = sizes if first is None else sizes[::-1]
            raise ValueError(
                f"{source.path} has {sizes[0]} lines, {target.path} {sizes[1]}, so line {number} of one has "
                "no translation: aligned files have as many"
            )
        yield first.strip(), second.strip()


def _read_fields(source: TextFile, fields: list[str]) -> Iterator[Pair]:
    for record in read_json(source):
        first, second = (get_text(record, field, "data.fields") for field in fields)
        yield first, second


def _split_columns(source: TextFile) -> Iterator[Pair]:
    for number, line in enumerate(read_lines(source), 1):
        columns = strip_end(line).split("\t")
        if len(columns) < 2:
            raise ValueError(
                f"{source.path}, line {number}: one column where a .tsv has source and target; two aligned "
                "files are data.source=FILE data.target=FILE"
            )
        yield columns[0].strip(), columns[1].strip()
