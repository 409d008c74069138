"""Properties of the data axis, on texts, orders and sizes that hypothesis draws."""

import json
from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triad.config.build import build
from triad.config.offers import read_choices
from triad.data.clean.drop import Drop
from triad.data.dedup.exact import ExactDuplicates
from triad.data.dedup.near import NearDuplicates
from triad.data.privacy.personal_data import mask_personal_data
from triad.data.shuffle import shuffle_rows
from triad.data.sources.text import text

quick = partial(settings, derandomize=True, deadline=None)
JOINERS = "\u200c\u200d\ufe0f"
ODD = (
    JOINERS + "\x00\x07\x85\u2028\ufeff\u0301\u0345\u034f\u1100\u1161\u11a8ﬁÅ\u212b<>&;|[]{}='\"-*#.!\n\r\t "
)
# text of any script, with much that filters look for: marks, markup, line ends, repeated lines
characters = st.one_of(
    st.sampled_from(ODD),
    st.characters(codec="utf-8"),
    st.sampled_from(["<b>", "</p>", "&amp;", "[[a|b]]", "{{x}}", "the and of ", "Ã©", "a@b.org", "e\u0301"]),
)
texts = st.lists(characters, max_size=60).map("".join)
lines = st.lists(texts, max_size=5).flatmap(
    lambda found: st.lists(st.sampled_from(found or [""]), max_size=12).map("\n".join)
)


@cache
def find_filters() -> dict[str, Callable]:
    """Every filter of conf/data/clean with the arguments that stand there, and the mask."""
    nodes = read_choices("data/clean")
    filters = {name: part for node in nodes.values() for name, part in node.get("filters", {}).items()}
    found = {name: build(part) for name, part in filters.items()}
    kinds = read_choices("data/privacy")["mask"]["kinds"]
    return found | {"privacy": partial(mask_personal_data, kinds=kinds)}


def apply(name: str, given_text: str) -> Any:
    """What a filter leaves, of a pair of the text and another one where it reads pairs."""
    chosen = find_filters()[name]
    if getattr(chosen.func, "reads", "text") == "pairs":
        return chosen(given_text, f"{given_text[::2]} x") or given_text
    return chosen(given_text)


@pytest.mark.parametrize("name", find_filters())
def test_a_second_pass_of_a_filter_changes_nothing(name: str) -> None:
    @quick(max_examples=60)
    @given(st.one_of(texts, lines))
    def check(drawn: str) -> None:
        once = apply(name, drawn)
        if not isinstance(once, Drop):
            assert apply(name, once) == once

    check()


REMOVES = {"punctuation", "stop_words", "boilerplate", "html", "wikitext"}  # words, lines and markup go


@pytest.mark.parametrize("name", sorted(find_filters().keys() - REMOVES))
def test_no_filter_takes_away_joiners_or_variation_selectors(name: str) -> None:
    @quick(max_examples=60)
    @given(st.one_of(texts, lines))
    def check(drawn: str) -> None:
        left = apply(name, drawn)
        if not isinstance(left, Drop):
            assert {joiner: left.count(joiner) for joiner in JOINERS} == {
                joiner: drawn.count(joiner) for joiner in JOINERS
            }

    check()


@pytest.mark.parametrize("name", sorted(REMOVES))
def test_filters_that_remove_words_leave_the_joiners_of_those_that_stay(name: str) -> None:
    for written in ("می\u200cخواهم", "क\u094d\u200dष", "\u2764\ufe0f", "\U0001f468\u200d\U0001f469"):
        assert written in apply(name, f"Here we see {written} in one long line, and that is all of it.")


WORDS = ("one", "One", "two", "three", "THREE", "four", "five", "six")
written_text = st.lists(st.sampled_from(WORDS), min_size=1, max_size=14).map(" ".join)
placed_texts = st.tuples(st.sampled_from(["train", "val"]), written_text)


def find_survivors(search: Any, chosen: list[tuple[str, str, str]]) -> Counter:
    """Split and text of each document that stays."""
    with TemporaryDirectory() as workspace:
        dropped = search.find_dropped(lambda: iter(chosen), Path(workspace)).dropped
        return Counter((split, written) for split, name, written in chosen if (split, name) not in dropped)


@pytest.mark.parametrize(
    "search",
    [ExactDuplicates("none"), ExactDuplicates("case"), NearDuplicates(2, 14, 4, 0.6)],
    ids=["exact", "case", "near"],
)
def test_which_texts_survive_depends_neither_on_order_nor_on_names(search: Any) -> None:
    @quick(max_examples=15)
    @given(st.lists(placed_texts, min_size=1, max_size=10), st.randoms(use_true_random=False))
    def check(placed: list[tuple[str, str]], random: Random) -> None:
        other = random.sample(placed, len(placed))
        first = [(split, f"a.jsonl:{number}", one) for number, (split, one) in enumerate(placed)]
        second = [(split, f"{number % 3}.txt:{number}", one) for number, (split, one) in enumerate(other)]
        survivors = find_survivors(search, first)
        assert survivors == find_survivors(search, second)
        assert max(survivors.values()) == 1
        assert {split for split, _ in survivors} >= ({"val"} & {split for split, _ in placed})

    check()


@quick(max_examples=60)
@given(st.integers(1, 3000), st.integers(0, 2**70), st.integers(0, 5))
def test_every_epoch_is_a_permutation(rows: int, seed: int, epoch: int) -> None:
    found = shuffle_rows(np.arange(epoch * rows, (epoch + 1) * rows), rows, seed)
    assert np.array_equal(np.sort(found), np.arange(rows))


names = st.text(st.sampled_from("abcdefgh"), min_size=1, max_size=5)


def write_files(folder: Path, chosen: set[str]) -> None:
    for name in chosen:
        (folder / f"{name}.txt").write_text(f"text of {name}")


def write_records(folder: Path, chosen: set[str]) -> None:
    lines = (json.dumps({"text": f"text of {name}"}) for name in sorted(chosen))
    (folder / "records.jsonl").write_text("".join(f"{line}\n" for line in lines))


def read_splits(folder: Path) -> dict[str, str]:
    """The split of each text."""
    source = text(str(folder), "text", 0.5, None, None, None, None, "raise")
    return {document.text: split for split in ("train", "val") for document in source.read(split)}


@pytest.mark.parametrize("write", [write_files, write_records])
def test_documents_that_are_added_move_none_into_another_split(write: Callable) -> None:
    @quick(max_examples=15)
    @given(st.sets(names, min_size=2, max_size=8), st.sets(names, max_size=8))
    def check(old: set[str], new: set[str]) -> None:
        with TemporaryDirectory() as folder:
            write(Path(folder), old)
            before = read_splits(Path(folder))
            write(Path(folder), old | new)
            after = read_splits(Path(folder))
        assert len(before) == len(old)
        assert {name: after[name] for name in before} == before

    check()
