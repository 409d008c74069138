"""Pages are kept and dropped as datatrove does: tests/data/clean/pages.jsonl has its reasons."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from triad.config.build import build
from triad.config.compose import compose
from triad.data.clean.drop import Drop
from triad.data.clean.words import PUNCTUATION, TERMINAL, split_words

PAGES = [json.loads(line) for line in (Path(__file__).parent / "pages.jsonl").read_text("utf-8").splitlines()]
RULES = {  # datatrove's reasons
    "gopher_short_doc": "min_words",
    "gopher_below_avg_threshold": "min_word_length",
    "gopher_above_avg_threshold": "max_word_length",
    "gopher_too_many_hashes": "max_symbols_per_word",
    "gopher_too_many_ellipsis": "max_symbols_per_word",
    "gopher_too_many_bullets": "max_bullet_lines",
    "gopher_too_many_end_ellipsis": "max_ellipsis_lines",
    "gopher_below_alpha_threshold": "min_alphabetic_words",
    "gopher_enough_stop_words": "min_stop_words",
    "dup_para_frac": "max_duplicate_paragraphs",
    "dup_para_char_frac": "max_characters_in_duplicate_paragraphs",
    "dup_line_frac": "max_duplicate_lines",
    "dup_line_char_frac": "max_characters_in_duplicate_lines",
    "line_punct_ratio": "min_lines_with_punctuation",
    "short_line_ratio": "max_short_lines",
    "char_dup_ratio": "max_characters_in_duplicate_lines",
    "list_ratio": "max_line_ends_per_word",
    **{f"top_{n}_gram": f"max_top_n_grams.{n}" for n in (2, 3, 4)},
    **{f"duplicated_{n}_n_grams": f"max_duplicate_n_grams.{n}" for n in range(5, 11)},
}
FILTERS = ("gopher_repetition", "gopher_quality", "fineweb_quality")


@pytest.fixture(scope="module")
def web() -> dict[str, Any]:
    """The filters of data/clean=web, without the packages that the others need."""
    filters = compose(["data/clean=web", "trainer.accelerator=cpu"])["clean"]["filters"]
    return build({name: filters[name] for name in FILTERS})


def judge(apply: partial, text: str) -> str | None:
    """The rule that drops a text in whatever language."""
    found = partial(apply, languages=None)(text)
    return found.rule if isinstance(found, Drop) else None


def test_each_rule_drops_the_pages_that_datatrove_drops(web: dict[str, Any]) -> None:
    seen = set()
    for page in PAGES:
        for name, reason in page["dropped_by"].items():
            assert judge(web[name], page["text"]) == (RULES[reason] if reason else None), page["name"]
            seen.add(reason)
    assert seen == RULES.keys() | {None}  # every rule drops some page
    assert sum(not any(page["dropped_by"].values()) for page in PAGES) > 20


def test_a_page_of_too_many_words_is_dropped(web: dict[str, Any]) -> None:
    prose = PAGES[0]["text"] + " "
    words = sum(not PUNCTUATION.issuperset(word) for word in split_words(prose))
    assert judge(web["gopher_quality"], prose * (100_000 // words)) is None
    assert judge(web["gopher_quality"], prose * (100_000 // words + 1)) == "max_words"


def test_datatrove_gives_the_reasons_that_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datatrove", reason="the reference of Gopher's and FineWeb's rules")
    from datatrove.data import Document
    from datatrove.pipeline import filters
    from datatrove.utils import text, word_tokenizers

    class Splitter:
        word_tokenize = staticmethod(split_words)

    monkeypatch.setattr(word_tokenizers, "load_word_tokenizer", lambda language: Splitter)
    theirs = {
        "gopher_repetition": filters.GopherRepetitionFilter(),
        "gopher_quality": filters.GopherQualityFilter(),
        "fineweb_quality": filters.FineWebQualityFilter(char_duplicates_ratio=0.1),
    }
    for page in PAGES:
        for name, reason in page["dropped_by"].items():
            found = theirs[name].filter(Document(text=page["text"], id="page"))
            assert (None if found is True else found[1]) == reason, page["name"]
    assert text.PUNCTUATION_SET == PUNCTUATION
    assert {*TERMINAL} == text.TERMINAL_PUNCTUATION


def test_rules_of_english_spare_other_languages_and_chinese_survives() -> None:
    for package in ("py3langid", "ftfy", "selectolax"):
        pytest.importorskip(package, reason="of the extra `data`")
    clean = build(compose(["data/clean=web", "trainer.accelerator=cpu"])["clean"])["filters"]
    spared = [page["text"] for page in PAGES if page["name"] in ("Chinese", "German", "Persian")]
    spared += ["هرچند می‌خواهم بدانم که چرا کتاب‌ها را نمی‌خوانند، هنوز نمی‌دانم.", "👩‍👩‍👧", "❤️", "ශ්‍රී ලංකාව"]
    for text in spared:
        for name, apply in clean.items():
            assert apply(text) == text, name
    german = next(page for page in PAGES if page["name"] == "German")
    assert judge(clean["gopher_quality"], german["text"]) == "min_words"


def test_a_filter_s_argument_is_set_and_a_filter_left_out_by_one_word() -> None:
    words = ["clean.filters.gopher_quality.min_words=20", "~clean.filters.language"]
    words += ["clean.filters.gopher_repetition.max_top_n_grams.2=0.5"]
    filters = compose(["data/clean=web", "trainer.accelerator=cpu", *words])["clean"]["filters"]
    assert filters["gopher_quality"]["min_words"] == 20
    assert filters["gopher_repetition"]["max_top_n_grams"] == {2: 0.5, 3: 0.18, 4: 0.16}
    assert "language" not in filters
