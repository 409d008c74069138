"""Text out of files of HTML, and of the SGML that old corpora come in."""

import re
from collections.abc import Iterator
from functools import partial
from html import unescape
from importlib.util import find_spec
from typing import Annotated

from triad.data.clean.drop import Drop
from triad.data.clean.html import html as read_shown
from triad.data.sources.malformed import Malformed, OnError, Skipped
from triad.data.sources.opening import Quota, TextFile
from triad.data.sources.reading import read_text
from triad.data.sources.source import Document, Text
from triad.data.sources.splits import find_splits, get_document_name, read_split

HTML, SGML = (".html", ".htm", ".xhtml"), (".sgm", ".sgml")
DOCUMENTS = ("doc", "reuters")  # elements of SGML that are a document each
TEXTS = ("seg", "title", "body")  # and elements of these whose text is read, a line each
TAG = re.compile(r"<(/?)([A-Za-z][\w.-]*)([^<>]*+)>")
NAME = re.compile(r"\b(?:docid|newid)\s*=\s*[\"']?([^\s\"'>]+)", re.IGNORECASE)


def html(
    path: str | list[str],
    val_path: str | list[str] | None,
    val_fraction: float,
    max_bytes: Annotated[int, ">= 1"] | None,
    on_error: OnError,
    licence: str | None = None,
) -> Text:
    """Text of pages (.html, .htm, .xhtml), one document each, and of documents in .sgm and .sgml.

    Other files of a folder are passed over. Of a page it is what a reader sees, by selectolax, one line a
    block; of SGML the segments of each <doc> (WMT's), or title and body of each <REUTERS> (Lewis 1997,
    Reuters-21578). UTF-8, plain or compressed. Raises ValueError, naming file and line, for documents
    of SGML that are not closed.
    """
    if find_spec("selectolax") is None:
        raise ValueError("data=html needs the package selectolax: pip install selectolax")
    files = find_splits(path, val_path, val_fraction, Quota(max_bytes), Skipped(on_error))
    for split, found in files.items():
        files[split] = [file for file in found if file.kind in (*HTML, *SGML)]
        if not files[split]:
            kinds = " ".join((*HTML, *SGML))
            raise ValueError(
                f"{found[0].path}: the {split} files are all of another kind than {kinds}; for "
                "other suffixes use data=text with data/clean=web"
            )
    return Text("html", partial(read_split, read_markup, files, get_document_name, val_fraction), licence)


def read_markup(file: TextFile) -> Iterator[Document]:
    """The documents of one file."""
    try:
        text = read_text(file)
        named = _read_page(file, text) if file.kind in HTML else read_sgml(file, text)
        for number, (name, lines) in enumerate(named, 1):
            if any(lines):
                yield Document(name, "\n".join(lines))
            else:
                file.skipped.count(file.path, number, "empty")
    except Malformed as error:
        file.skipped.meet(file.path, error)


read_markup.packages = ("selectolax",)


def _read_page(file: TextFile, text: str) -> Iterator[tuple[str, list[str]]]:
    shown = read_shown(text)
    if isinstance(shown, Drop):
        fault = "spells tags by entities within entities more than four times over"
        raise Malformed(f"{file.path}: the page {fault}; leave it out", "nested")
    yield file.name, [shown]


def read_sgml(file: TextFile, text: str) -> Iterator[tuple[str, list[str]]]:
    """Name and text of each document of a file: its segments, or its title and body."""
    name, begun = "", 0  # of the document, and the line of the tag that began it
    part, start = "", 0  # the element of text, and where its text begins
    lines: list[str] = []
    number, line, counted = 0, 1, 0
    for tag in TAG.finditer(text):
        line, counted = line + text.count("\n", counted, tag.start()), tag.start()
        closes, element = bool(tag[1]), tag[2].lower()
        if element in DOCUMENTS:
            if closes != bool(begun):
                raise _tell(file, line, f"<{tag[1]}{tag[2]}> where {'none' if closes else 'another'} is open")
            if closes:
                yield name, lines
                begun = 0
            else:
                number, begun, lines = number + 1, line, []
                named = NAME.search(tag[3])
                name = f"{file.name}:{named[1] if named else number}"
        elif begun and element in TEXTS:
            if closes and part == element:
                said = unescape(text[start : tag.start()]).strip()
                lines.append(" ".join(said.split("\n")) if part == "seg" else said)
                part = ""
            elif not closes and not part:
                part, start = element, tag.end()
            else:
                raise _tell(file, line, f"<{tag[1]}{tag[2]}> where <{part or 'none'}> is open")
    if begun:
        raise _tell(file, begun, "the document is not closed")


def _tell(file: TextFile, line: int, fault: str) -> Malformed:
    return Malformed(f"{file.path}, line {line}: not SGML ({fault}); mend it", "not SGML")
