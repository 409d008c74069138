"""Parallel text: sentences and their translations."""

import json
from collections.abc import Iterator
from functools import partial
from itertools import combinations, zip_longest
from typing import Annotated, NamedTuple

from triad.data.sources.finding import find_file, refuse_shared
from triad.data.sources.html import SGML, read_sgml
from triad.data.sources.malformed import Malformed, OnError, Skipped
from triad.data.sources.opening import Quota, TextFile
from triad.data.sources.reading import read_lines, read_text
from triad.data.sources.records import (
    Record,
    check_columns,
    get_text,
    get_texts,
    is_table,
    read_values,
    strip_end,
)
from triad.data.sources.source import Document, ParallelText, Split
from triad.data.sources.splits import check_fraction, is_in_split


class Pair(NamedTuple):
    """Both sides, and further references of the target."""

    source: str
    target: str
    references: tuple[str, ...] = ()


class Place(NamedTuple):
    """The files of one split: of both sides, or records of these fields; and those of further references."""

    source: TextFile
    target: TextFile | None
    fields: list[str]
    references: list[str]  # fields
    further: list[TextFile]

    @property
    def named(self) -> dict[str, str]:
        """The fields, and the keys of the configuration that name them."""
        return dict.fromkeys(self.fields, "data.fields") | dict.fromkeys(self.references, "data.references")


def parallel(
    source: str,
    target: str | None,
    fields: list[str],
    val_source: str | None,
    val_target: str | None,
    val_fraction: float,
    test_source: str | None,
    test_target: str | None,
    references: list[str],
    max_bytes: Annotated[int, ">= 1"] | None,
    on_error: OnError,
    licence: str | None = None,
) -> ParallelText:
    """Pairs of lines of two aligned files; without `target` of one .tsv, or of records with two `fields`.

    Lines are segments in .sgm; records are of .jsonl, .json, .csv, .parquet or .arrow. Blanks around a line
    are no part of it. Each pair becomes two documents, the source's and the target's, so that one tokenizer
    learns from both. Without `val_source` a hash of its two texts sends a pair to training or validation.
    `references` are further ones of the test split, for evaluation: files aligned with `test_target`, or
    fields of the records of `test_source`, of a text or a list of texts. Pairs of which a side is blank are
    passed over and counted. Raises ValueError for files that are not aligned, and for files of two splits; of
    what else is malformed on_error=skip leaves out both sides.
    """
    if len(fields) != 2:
        raise ValueError(f"data.fields={fields}: the names of the source's and of the target's text")
    if references and test_source is None:
        raise ValueError(
            f"data.references={references}: further references of the test split, which is data.test_source"
        )
    quota, skipped = Quota(max_bytes), Skipped(on_error)
    places: dict[str, Place] = {"": _find_place(source, target, fields, [], "", quota, skipped)}
    if val_source is not None:
        places["val_"] = _find_place(val_source, val_target, fields, [], "val_", quota, skipped)
        splits: dict[Split, Place] = {"train": places[""], "val": places["val_"]}
        read = partial(_read_files, splits)
    else:
        check_fraction(val_fraction)
        read = partial(_split_by_text, places[""], val_fraction)
    test = None
    if test_source is not None:
        place = _find_place(test_source, test_target, fields, references, "test_", quota, Skipped(on_error))
        splits = {"test": place}
        places["test_"], test = place, partial(_read_files, splits)
    for (one, first), (other, second) in combinations(places.items(), 2):
        refuse_shared([first.source], [second.source], f"data.{one}source", f"data.{other}source")
    return ParallelText("parallel", read, licence, read_test=test)


def _find_place(
    source: str,
    target: str | None,
    fields: list[str],
    references: list[str],
    prefix: str,
    quota: Quota,
    skipped: Skipped,
) -> Place:
    """The file or the files of one split."""
    first = find_file(source, f"data.{prefix}source", quota, skipped)
    if target is None:
        if references and not is_table(first):
            raise ValueError(f"data.references={references}: fields of records, and {first.path} has none")
        place = Place(first, None, fields, references, [])
        check_columns([first], place.named)
        return place
    second = find_file(target, f"data.{prefix}target", quota, skipped)
    further = [find_file(path, "data.references", quota, skipped) for path in references]
    for file in (second, first, *further):
        if is_table(file):
            raise ValueError(
                f"{file.path}: aligned files hold a sentence a line; give a {file.kind} that has both sides "
                f"alone, data.{prefix}target=null with data.fields"
            )
    return Place(first, second, fields, [], further)


def _read_files(places: dict[Split, Place], split: Split) -> Iterator[Document]:
    for number, pair in _read_pairs(places[split]):
        yield from _make_documents(number, pair)


def _split_by_text(place: Place, fraction: float, split: Split) -> Iterator[Document]:
    for number, pair in _read_pairs(place):
        if is_in_split(f"{pair.source}\n{pair.target}", fraction, split):
            yield from _make_documents(number, pair)


def _make_documents(number: int, pair: Pair) -> Iterator[Document]:
    yield Document(f"{number}:source", pair.source)
    references = json.dumps(pair.references, ensure_ascii=False) if pair.references else ""
    yield Document(f"{number}:target", pair.target, references)


def _read_pairs(place: Place) -> Iterator[tuple[int, Pair]]:
    """Number and texts of each pair that has both."""
    source = place.source
    try:
        for number, pair in _read_texts(place):
            if pair.source.strip() and pair.target.strip():
                yield number, pair
            else:
                source.skipped.count(source.path, number, "empty")
    except Malformed as error:
        source.skipped.meet(source.path, error)


def _read_texts(place: Place) -> Iterator[tuple[int, Pair]]:
    if place.target is not None:
        return _read_aligned(place, place.target)
    if is_table(place.source):
        return read_values(place.source, place.named, None, partial(_get_pair, place))
    return _split_columns(place.source)


def _get_pair(place: Place, record: Record) -> Pair:
    first, second = (get_text(record, field, "data.fields") for field in place.fields)
    further = (get_texts(record, field, "data.references") for field in place.references)
    return Pair(first, second, tuple(text for texts in further for text in texts if text.strip()))


def _read_aligned(place: Place, target: TextFile) -> Iterator[tuple[int, Pair]]:
    for number, (first, second, *further) in align([place.source, target, *place.further]):
        yield number, Pair(first, second, tuple(filter(None, further)))


def align(files: list[TextFile]) -> Iterator[tuple[int, list[str]]]:
    """Number and lines of files that belong together line by line, without the blanks around them.

    Raises ValueError for files that have not as many lines.
    """
    readers = [_read_side(file) for file in files]
    for number, lines in enumerate(zip_longest(*readers), 1):
        if None in lines:
            short = lines.index(None)
            other = next(at for at, line in enumerate(lines) if line is not None)
            sizes = {short: number - 1, other: number + sum(1 for _ in readers[other])}
            first, second = sorted(sizes)
            raise ValueError(
                f"{files[first].path} has {sizes[first]} lines, {files[second].path} {sizes[second]}, so "
                f"line {number} of one has no translation: aligned files have as many"
            )
        if all(lines):  # a malformed line, which was counted, is ""
            yield number, [line.strip() for line in lines]


def _read_side(file: TextFile) -> Iterator[str]:
    """The lines of a file, of SGML its segments."""
    if file.kind not in SGML:
        return read_lines(file)
    return (f"{line}\n" for _, lines in read_sgml(file, read_text(file)) for line in lines)


def _split_columns(source: TextFile) -> Iterator[tuple[int, Pair]]:
    for number, line in enumerate(read_lines(source), 1):
        columns = strip_end(line).split("\t")
        if len(columns) > 1:
            yield number, Pair(columns[0].strip(), columns[1].strip())
        elif line:
            fault = "one column where a .tsv has source and target"
            remedy = "two aligned files are data.source=FILE data.target=FILE"
            error = Malformed(f"{source.path}, line {number}: {fault}; {remedy}", "ragged row", number)
            source.skipped.meet(source.path, error)
