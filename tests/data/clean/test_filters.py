"""Filters of text: what they change, that a second pass changes nothing, that their time is linear."""

import random
import sys
from collections.abc import Callable
from typing import Any

import pytest

from triad.config.build import build
from triad.config.compose import compose
from triad.data.clean import encoding, html, normalization, parallel, remove_words, wikitext
from triad.data.clean.boilerplate import boilerplate
from triad.data.clean.control_characters import control_characters
from triad.data.clean.drop import Drop
from triad.data.privacy.personal_data import KINDS, mask_personal_data

JOINED = ["می‌خواهم", "👩‍👩‍👧", "ශ්‍රී", "❤️"]  # U+200C, U+200D, U+200D, U+FE0F
PHRASES = ["privacy policy", "javascript"]
PIECES = [
    *(
        "a",
        " ",
        "\n",
        "\n\n",
        "é",
        "e\u0301",
        "Ã©",
        "â€œ",
        "\x00",
        "\x1b[0m",
        "\ud83d",
        "ﬁ",
        "中",
        "。",
        "#",
        "...",
    ),
    *(
        "<p>",
        "</p>",
        "<b",
        "&lt;p&gt;",
        "&amp;lt;",
        "[[a|b]]",
        "{{x}}",
        "'''",
        "{|",
        "|}",
        "<ref>",
        "the",
        ",",
    ),
    *(
        "post@example.com",
        "192.0.2.17",
        "4111 1111 1111 1111",
        "202-555-0142",
        "+44 20 7946 0018",
        "-",
        "1",
        ".",
    ),
    *("privacy policy", "JavaScript", "078-05-1120", "/", *JOINED),
]


def strip_words(text: str) -> str:
    return remove_words.stop_words(text, ["the", "a"])


FILTERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "encoding": (encoding.encoding, "ftfy"),
    "normalization": (lambda text: normalization.normalization(text, "NFC"), ""),
    "compatibility": (lambda text: normalization.normalization(text, "NFKC"), ""),
    "control_characters": (control_characters, ""),
    "html": (html.html, "selectolax"),
    "wikitext": (wikitext.wikitext, "mwparserfromhell"),
    "boilerplate": (lambda text: boilerplate(text, PHRASES), ""),
    "punctuation": (remove_words.punctuation, ""),
    "stop_words": (strip_words, ""),
    "personal_data": (lambda text: mask_personal_data(text, [*KINDS]), ""),
}


@pytest.fixture(params=FILTERS)
def apply(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    function, package = FILTERS[request.param]
    if package:
        pytest.importorskip(package, reason="of the extra `data`")
    return function


def test_a_second_pass_changes_nothing(apply: Callable[[str], Any]) -> None:
    draw = random.Random(0)
    for _ in range(400):
        pieces = draw.choices(PIECES, k=draw.randint(1, 12))
        text = "".join(piece.encode("utf-8", "replace").decode() for piece in pieces)
        once = apply(text)
        assert isinstance(once, Drop) or apply(once) == once, repr(text)


def test_joiners_and_variation_selectors_stay(apply: Callable[[str], Any]) -> None:
    for text in JOINED:
        assert apply(text) == text


def test_what_each_filter_makes_of_a_text() -> None:
    assert control_characters("nul \x00 here\t\r\n\x0c\x85") == "nul  here\t\r\n"
    assert control_characters("half \ud83d here, \U0001f642") == "half \ufffd here, \U0001f642"
    assert normalization.normalization("e\u0301 ﬁ ²", "NFC") == "é ﬁ ²"
    assert normalization.normalization("e\u0301 ﬁ ²", "NFKC") == "é fi 2"
    assert boilerplate("Text.\n  See our Privacy Policy.\n Rest.", PHRASES) == "Text.\n Rest."
    assert boilerplate("Lorem ipsum dolor", PHRASES) == Drop("lorem_ipsum")
    assert boilerplate("Please enable JavaScript", PHRASES) == Drop("phrases")
    assert remove_words.punctuation("Well, it's “done” — 你好。") == "Well it s done 你好 "
    assert remove_words.stop_words("The cat and the hat", ["the"]) == " cat and hat"


def test_mojibake_is_repaired_line_by_line_and_nothing_else_is() -> None:
    pytest.importorskip("ftfy", reason="of the extra `data`")
    assert encoding.encoding("sÃ³ “so” ﬁ &amp;\r\nplain\nvoilÃ le") == "só “so” ﬁ &amp;\r\nplain\nvoilà le"


def test_html_becomes_its_text() -> None:
    pytest.importorskip("selectolax", reason="of the extra `data`")
    page = "<html><head><title>t</title></head><body><script>x()</script><h1>One</h1><p>a <b>b</b> &amp; c"
    assert html.html(f"{page}</p><ul><li>d<li>e</ul></body></html>") == "One\na b & c\nd\ne"
    assert html.html("if a < b and c > d: print('<class>')") == "if a < b and c > d: print('<class>')"
    deeper = "".join(f"&{'amp;' * level}lt;p>" for level in range(4))
    assert html.html(f"a <p>{deeper}") == Drop("nested")


def test_wiki_markup_becomes_its_text() -> None:
    pytest.importorskip("mwparserfromhell", reason="of the extra `data`")
    page = "'''Anarchism''' is a [[political philosophy|philosophy]].<ref>{{c}}</ref>\n[[Category:Ideas]]"
    assert wikitext.wikitext(page) == "Anarchism is a philosophy."
    assert wikitext.wikitext("a[0] = {1: 2}") == "a[0] = {1: 2}"


def test_pairs_that_are_no_translations_are_dropped() -> None:
    assert parallel.length_ratio("a" * 9, "b" * 81, 9) is None
    assert parallel.length_ratio("b" * 82, "a" * 9, 9) == Drop("most")
    assert parallel.identical_sides("Same ", "same", True) == Drop("identical")
    assert parallel.identical_sides("Same ", "same", False) is None
    assert parallel.identical_sides("Haus", "house", True) is None


def count_lines(apply: Callable[[str], Any], text: str) -> int:
    """Lines of Python that a call runs: with patterns of bounded backtracking, a measure of its steps."""
    lines = 0

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    sys.settrace(trace)
    try:
        apply(text)
    finally:
        sys.settrace(None)
    return lines


@pytest.mark.parametrize(
    "unit", ["post@", "a.", "a'", "1.", "1 ", "+1", "tel ", "0:", "2001:db8:", "4111 ", "("]
)
def test_a_megabyte_that_looks_like_personal_data_takes_steps_as_its_length(unit: str) -> None:
    """A pattern that goes back over what it read does not come to an end here: 10^12 steps."""
    text = unit * (1_000_000 // len(unit))
    assert len(mask_personal_data(text, [*KINDS])) <= len(text)
    short = [count_lines(lambda text: mask_personal_data(text, [*KINDS]), unit * n) for n in (500, 2000)]
    assert short[1] <= 4 * short[0] + 50


LINEAR = """
import os, resource, sys
from triad.config.build import build
from triad.config.compose import compose
from triad.data.contamination import find_question

words = "trainer.accelerator=cpu", "data/privacy=mask"
chosen = [build(compose([f"data/clean={name}", *words])) for name in ("web", "wikipedia", "words")]
filters = {"privacy": chosen[0]["privacy"], "question": find_question}
for config in chosen:
    filters |= config["clean"]["filters"]
SIZE, SECONDS = 200_000, 20
for name, apply in filters.items():
    if not (child := os.fork()):
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        for unit in sys.argv[1:]:
            apply(f"<p>a{unit * (SIZE // len(unit))}x</p>")
        os._exit(0)
    if code := os.waitpid(child, 0)[1]:
        print(name, code)
"""


def test_no_filter_s_time_grows_with_the_square_of_the_length(python: Any) -> None:
    """What is linear takes a second or two for all of these, what is quadratic minutes for one."""
    pytest.importorskip("ftfy", reason="of the extra `data`")
    units = (
        " ",
        "\n",
        " \n",
        "== ",
        "[[a",
        "{{",
        "<a ",
        "<!--",
        "'''",
        "a.",
        "(A) ",
        "the ",
        "e\u0301",
        "# ",
    )
    assert python("-c", LINEAR, *units).stdout == ""


def test_a_row_of_combining_characters_is_sorted_in_pieces() -> None:
    """Python's normalize takes 10^11 steps for this; joiners part it after every thirty."""
    text = "a" + "\u0301\u0316" * 500_000
    done = normalization.normalization(text, "NFC")
    assert done.count(normalization.JOINER) == 1_000_000 // 30 - (1_000_000 % 30 == 0)
    assert normalization.normalization(done, "NFC") == done


def test_a_row_of_combining_characters_is_parted_wherever_it_begins() -> None:
    for before in range(70):
        text = "x" * before + "a" + "\u0316" * 31 + "y" * (before % 7)
        done = normalization.normalization(text, "NFC")
        assert done == text[: before + 31] + normalization.JOINER + text[before + 31 :]


def test_filters_for_pairs_ask_for_pairs() -> None:
    with pytest.raises(ValueError, match=r"length_ratio needs data that yields pairs"):
        compose(["data/clean=parallel", "trainer.accelerator=cpu"])
    assert build(compose(["trainer.accelerator=cpu", "data/clean=words"])["clean"])
