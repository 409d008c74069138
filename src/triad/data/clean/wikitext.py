"""Text out of MediaWiki's markup."""

import re

from triad.data.clean.drop import Drop

PASSES = 4
MARKUP = re.compile(r"\[\[|\{\{|'''|^\{\||^==.+==\s*$", re.MULTILINE)
TAG = re.compile(r"(<[^<>]*+>)")
BLANK_LINES = re.compile(r"\n{3,}+")
SILENT = ("ref", "math", "gallery", "timeline", "syntaxhighlight", "source")  # tags whose content is no text
OTHER_SPACES = re.compile(r"\[\[(?:File|Image|Category):[^\[\]\n]*+\]\]", re.IGNORECASE)


def wikitext(text: str) -> str | Drop:
    """The text of a page of Wikipedia without templates, tables, references and link targets.

    By mwparserfromhell; what has no markup stays as it is. Markup that the text still has after four passes,
    such as brackets without an end, is dropped as `nested`.
    """
    for _ in range(PASSES):
        if not MARKUP.search(text):
            return text
        before, text = text, _strip(text)
        if before == text:
            return text
    return Drop("nested") if _strip(text) != text else text


def _strip(text: str) -> str:
    from mwparserfromhell import parse

    text = OTHER_SPACES.sub("", _drop_tags(text))
    if text.count("{|") != text.count("|}"):  # the parser takes the square of their number for these
        text = text.replace("{|", "")
    return BLANK_LINES.sub("\n\n", str(parse(text, skip_style_tags=False).strip_code())).strip()


def _drop_tags(text: str) -> str:
    """Text without tags, and without what stands within those whose content is no text."""
    kept: list[str] = []
    within, since = "", 0
    for part in TAG.split(text):
        if not (part.startswith("<") and part.endswith(">")):
            kept.append(part)
            continue
        name = part.strip("</>").split(maxsplit=1)[0].lower() if part.strip("</> ") else ""
        if not within and name in SILENT and not part.startswith("</") and not part.endswith("/>"):
            within, since = name, len(kept)
        elif name == within and part.startswith("</"):
            del kept[since:]
            within = ""
    return "".join(kept)


wikitext.packages = ("mwparserfromhell",)
