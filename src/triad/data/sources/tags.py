"""Words with a tag each, in columns: CoNLL-2003 and its relatives, and .conllu."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated

from triad.data.sources.examples import Paths, Tags, read_splits
from triad.data.sources.malformed import Malformed, OnError
from triad.data.sources.opening import TextFile
from triad.data.sources.reading import read_lines
from triad.data.sources.records import strip_end
from triad.data.sources.source import Document

DOCUMENT = "-DOCSTART-"  # stands where a document begins, in CoNLL-2003
Lines = list[tuple[int, str]]


def tags(
    path: Paths,
    val_path: Paths | None,
    val_fraction: float,
    test_path: Paths | None,
    word: Annotated[int, ">= -1"],
    tag: Annotated[int, ">= -1"],
    max_bytes: Annotated[int, ">= 1"] | None,
    on_error: OnError,
    licence: str | None = None,
) -> Tags:
    """Sentences of a word a line, with a blank line between two: Tjong Kim Sang and De Meulder 2003.

    `word` and `tag` are the places of their columns, counted from 0, or from the last by -1. Columns stand
    apart by tabs, or where a line has none by blanks. A line of -DOCSTART- is passed over; in .conllu so are
    comments (#) and words that are parts or wholes of others (1-2, 1.1). Without `val_path` a hash of its
    words sends a sentence to training or validation. Raises ValueError, naming file and line, for a line
    without the column or with another number of columns than the sentence began with, unless on_error=skip,
    which leaves out the sentence.
    """
    read, paths = partial(_read_sentences, word, tag), (path, val_path, test_path)
    return read_splits(Tags, "tags", read, paths, val_fraction, max_bytes, on_error, licence)


def _read_sentences(word: int, tag: int, file: TextFile) -> Iterator[Document]:
    for lines in _divide(file):
        first = lines[0][0]
        try:
            words, named = _read_columns(lines, word, tag, file)
        except Malformed as error:
            file.skipped.meet(file.path, error)
        else:
            if words:
                yield Tags.describe(f"{file.name}:{first}", {"words": words, "tags": named})


def _divide(file: TextFile) -> Iterator[Lines]:
    """The lines of each sentence with their numbers."""
    lines: Lines = []
    for number, line in enumerate(read_lines(file), 1):
        if line and not line.strip():
            if lines:
                yield lines
            lines = []
        else:
            lines.append((number, strip_end(line)))  # a malformed line, which was counted, is ""
    if lines:
        yield lines


def _read_columns(lines: Lines, word: int, tag: int, file: TextFile) -> tuple[list[str], list[str]]:
    words, named, width = [], [], 0
    for number, line in lines:
        where = f"{file.path}, line {number}"
        if not line:
            raise Malformed(f"{where}: not UTF-8; convert it", "not UTF-8", number)
        columns = line.split("\t") if "\t" in line else line.split()
        if columns[0] == DOCUMENT or (file.kind == ".conllu" and not columns[0].isdigit()):
            continue
        width = width or len(columns)
        if len(columns) != width:
            fault = f"{len(columns)} columns where the sentence began with {width}"
            remedy = "mend the line, or put a blank line between sentences"
            raise Malformed(f"{where}: {fault}; {remedy}", "ragged row", number)
        for place, key, found in ((word, "data.word", words), (tag, "data.tag", named)):
            if not -width <= place < width or not columns[place].strip():
                fault = f"{width} columns, and none with text at {key}={place}, counted from 0"
                raise Malformed(f"{where}: {fault}; set {key}", "no column", number)
            found.append(columns[place].strip())
    return words, named
