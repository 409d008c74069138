"""The articles of a MediaWiki dump, as Wikipedia publishes them."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated
from xml.parsers import expat

from triad.data.sources.malformed import Malformed, OnError, Skipped
from triad.data.sources.opening import Quota, TextFile, read_blocks
from triad.data.sources.reading import LONGEST
from triad.data.sources.source import Document, Text
from triad.data.sources.splits import find_splits, get_document_name, read_split

ARTICLES = "0"  # the namespace
KEPT = ("title", "ns", "text")  # elements of a page whose text is wanted


def wikipedia(
    path: str | list[str],
    val_path: str | list[str] | None,
    val_fraction: float,
    max_bytes: Annotated[int, ">= 1"] | None,
    on_error: OnError,
    licence: str | None = None,
) -> Text:
    """Articles of dumps such as enwiki-latest-pages-articles.xml.bz2, plain or compressed, as wikitext.

    https://www.mediawiki.org/wiki/Help:Export. An article is a page of namespace 0 that is no redirect,
    of several revisions the last; it is named by its title, so that it stays in its split from dump to dump.
    data/clean=wikipedia makes text of it. One page is in memory at a time. Raises ValueError, naming file and
    line, for what is no XML, and for declarations of entities.
    """
    files = find_splits(path, val_path, val_fraction, Quota(max_bytes), Skipped(on_error))
    return Text(
        "wikipedia", partial(read_split, read_articles, files, get_document_name, val_fraction), licence
    )


def read_articles(file: TextFile) -> Iterator[Document]:
    try:
        for number, (line, page) in enumerate(_read_pages(file), 1):
            if page.get("ns") != ARTICLES or "redirect" in page:
                continue
            if not page.get("title"):
                fault = Malformed(f"{file.path}, line {line}: a page without a title", "no title", number)
                file.skipped.meet(file.path, fault)
            elif text := page.get("text", ""):
                yield Document(page["title"], text)
            else:
                file.skipped.count(file.path, number, "empty")
    except Malformed as error:
        file.skipped.meet(file.path, error)


def _read_pages(file: TextFile) -> Iterator[tuple[int, dict[str, str]]]:
    """The line that each page ends on, and the text of its elements, of which the last of a name counts."""
    pages: list[tuple[int, dict[str, str]]] = []
    page: dict[str, str] = {}
    pieces: list[str] = []
    length = 0

    def open_element(name: str, attributes: dict[str, str]) -> None:
        if name == "page":
            page.clear()
        elif name == "redirect":
            page[name] = ""
        pieces.clear()

    def close_element(name: str) -> None:
        nonlocal length
        if name in KEPT:
            page[name] = "".join(pieces)
        elif name == "page":
            pages.append((parser.CurrentLineNumber, dict(page)))
            length = 0
        pieces.clear()

    def add_text(text: str) -> None:
        nonlocal length
        length += len(text)
        if length > LONGEST:
            raise _tell(file, parser, f"the page is longer than {LONGEST:,} characters", "too long")
        pieces.append(text)

    def refuse_entity(name: str, *rest: object) -> None:
        raise _tell(file, parser, f"declares the entity {name!r}, as no dump does", "not XML")

    parser = expat.ParserCreate("UTF-8")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = open_element, close_element
    parser.CharacterDataHandler, parser.EntityDeclHandler = add_text, refuse_entity
    try:
        for block in read_blocks(file):
            parser.Parse(block)
            yield from pages
            pages.clear()
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise _tell(file, parser, f"not XML ({expat.ErrorString(error.code)})", "not XML") from None


def _tell(file: TextFile, parser: expat.XMLParserType, fault: str, reason: str) -> Malformed:
    sentence = f"{file.path}, line {parser.CurrentLineNumber}: {fault}; a dump of MediaWiki is read"
    return Malformed(f"{sentence}, such as enwiki-latest-pages-articles.xml.bz2", reason)
