"""Text out of HTML."""

import re

from triad.data.clean.drop import Drop

PASSES = 4
BLOCKS = (
    *("address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figcaption", "figure"),
    *("footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p"),
    *("pre", "section", "table", "td", "th", "title", "tr", "ul"),
)
OTHERS = (
    *("a", "abbr", "b", "body", "button", "center", "cite", "code", "del", "em", "font", "head", "html", "i"),
    *(
        "iframe",
        "img",
        "input",
        "ins",
        "kbd",
        "label",
        "link",
        "mark",
        "meta",
        "noscript",
        "option",
        "q",
        "s",
    ),
    *("script", "select", "small", "span", "strong", "style", "sub", "sup", "svg", "tbody", "template"),
    *("textarea", "tfoot", "thead", "tt", "u", "video"),
)
TAG = re.compile(
    rf"<(?:/?(?:{'|'.join((*BLOCKS, *OTHERS))})(?=[\s/>])[^<>]*+>|!doctype\b[^<>]*+>|!--)", re.IGNORECASE
)
LEFT_OUT = "script, style, noscript, template, head, iframe, svg, textarea, select, button"


def html(text: str) -> str | Drop:
    """The text that HTML shows, one line a block, by selectolax; what has no tag of HTML stays as it is.

    Scripts, styles and controls are left out. Where the text that comes out has tags itself, since the page
    spelled them by entities, they go, too; a page that does so more than four times over is dropped, as
    `nested`, so that a second pass never finds anything.
    """
    for _ in range(PASSES):
        if "<" not in text or not TAG.search(text):
            return text
        text = _read_shown(text)
    return Drop("nested") if TAG.search(text) else text


def _read_shown(text: str) -> str:
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(text)
    for node in tree.css(LEFT_OUT):
        node.decompose()
    for node in tree.css(", ".join(BLOCKS)):
        node.insert_before("\n")
        node.insert_after("\n")
    root = tree.body or tree.root
    lines = root.text().split("\n") if root else ()
    return "\n".join(filter(None, map(str.strip, lines)))


html.packages = ("selectolax",)
