"""WikiText-2."""

from dataclasses import replace

from triad.data.sources.published import Published
from triad.data.sources.source import Text
from triad.data.sources.text import text


def wikitext2(path: str | None, licence: str, address: str, files: list[list]) -> Text:
    """Articles as words between spaces, a paragraph a line, the rare words replaced by <unk>.

    Merity et al. 2016, arXiv:1609.07843: 2,051,910 words, 213,886 of valid, 241,211 of test.
    """
    published = Published("wikitext2", path, address, files)
    found = text(
        published.find("train.txt"),
        val_path=published.find("valid.txt"),
        test_path=published.find("test.txt"),
        val_fraction=0.1,
        field="text",
        columns=None,
        max_bytes=None,
        on_error="raise",
        licence=licence,
    )
    return replace(found, name="wikitext2")
