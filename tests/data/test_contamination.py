"""Evaluation items put into documents are found, however they were rewritten; look-alikes are not."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from triad.config.build import build
from triad.config.locations import CONF
from triad.data.contamination import Contamination, ContaminationCheck

WORDS = [
    a + b + c
    for a in ("ba", "ro", "ti", "mu")
    for b in ("sel", "nor", "vak", "dim")
    for c in ("o", "et", "in")
]
OPTIONS = re.compile(r" \(([A-D])\) ")
Rewrite = Callable[[str, random.Random], str]


def say(draw: random.Random, words: int) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(words))


def make_items(seed: int, question: int) -> list[str]:
    """Questions of some words, with four options of three to six."""
    draw = random.Random(seed)
    items = []
    for _ in range(30):
        options = " ".join(f"({letter}) {say(draw, draw.randrange(3, 7))}" for letter in "ABCD")
        items.append(f"{say(draw, question).capitalize()}? {options}")
    return items


def wrap(text: str, draw: random.Random) -> str:
    words = text.split()
    return "\n".join(" ".join(words[k : k + 8]) for k in range(0, len(words), 8))


def embed(text: str, draw: random.Random) -> str:
    return f"{say(draw, 3000)}. {text} {say(draw, 3000)}"


def shorten(text: str, draw: random.Random) -> str:
    question, *options = OPTIONS.split(text)
    return f"{question} (A) {options[1]} (B) {options[3]}"


def tabulate(text: str, draw: random.Random) -> str:
    return "\n".join(f"| **{line}** |" for line in wrap(text, draw).upper().splitlines())


def disguise(text: str, draw: random.Random) -> str:
    """Other blanks, a soft hyphen in each long word, letters of full width."""
    hyphened = (
        re.sub(r"(\w\w\w)(\w\w)", "\\1\u00ad\\2", text).replace(" ", "\u00a0 \u200b").replace("a", "ａ")
    )
    return f"“{hyphened}”"


REWRITES: list[Rewrite] = [
    lambda text, draw: text,
    wrap,
    embed,
    shorten,
    tabulate,
    disguise,
    lambda text, draw: embed(wrap(shorten(text, draw), draw), draw),
]


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., Contamination]:
    """What is found in texts by items, which are texts or lines of JSON."""

    def run(items: list, texts: list[str], **changes) -> Contamination:
        path = tmp_path / "items.jsonl"
        rows = [
            {"id": f"item {n}", "text": item} if isinstance(item, str) else item
            for n, item in enumerate(items)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        options = {
            "path": str(path),
            "fields": ["text"],
            "id": "id",
            "words": 13,
            "action": "report",
        } | changes
        documents = [("train", str(n), text) for n, text in enumerate(texts)]
        return ContaminationCheck(**options).find_dropped(lambda: iter(documents), tmp_path)

    return run


def pairs(found: Contamination) -> set[tuple[str, str]]:
    return {(hit.item, hit.document) for hit in found.hits}


@pytest.mark.parametrize("question", [9, 15, 40])
def test_items_put_into_documents_are_found_however_they_are_rewritten(check, question: int) -> None:
    items, draw = make_items(0, question), random.Random(1)
    texts = [REWRITES[n % len(REWRITES)](item, draw) for n, item in enumerate(items)]
    assert pairs(check(items, texts)) == {(f"item {n}", f"{n}") for n in range(len(items))}


def test_documents_that_share_less_than_an_ngram_are_not_found(check) -> None:
    items, draw = make_items(2, 20), random.Random(3)
    texts = [say(draw, 5000)]
    for item in items:
        words = item.split()
        texts += [
            f"{say(draw, 5)} {' '.join(words[k : k + shared])} {say(draw, 5)}"
            for k, shared in ((0, 7), (4, 8), (2, 12))
        ]
        texts.append(" ".join(reversed(words)))
    found = check(items, texts)
    assert not found.hits
    assert found.facts["contaminated_items"] == 0


def test_stubs_are_no_evidence_on_either_side(check) -> None:
    stubs = ["A.", "(B) 360", "None of the above.", "...", "True", ""]
    items = make_items(4, 20)
    rows = [{"text": text or "-"} for text in stubs] + [{"text": item} for item in items]
    found = check(rows, [*stubs, "none of the above is true", "## (A) 3 (B) 4 (C) 5 (D) 6"])
    assert not found.hits
    assert found.facts["unchecked_items"] == 5  # "..." and "-" have the same words: none
    assert found.facts["items"] == 5 + len(items)


def test_items_of_fewer_words_match_whole(check) -> None:
    items = ["Which river runs through the old town of Vakin?", "the tide turns\ntwice a day here"]
    texts = [
        "which river\nruns through THE old town of vakin, they asked",
        "which river runs through the old town",
    ]
    texts += ["The tide turns twice a day, here and there.", "the tide turns twice a day"]
    assert pairs(check(items, texts)) == {("item 0", "0"), ("item 1", "2")}


def test_scripts_without_spaces_are_compared_by_characters(check) -> None:
    items = ["请问河边的旧桥是在哪一年由谁主持修建完成的？", "旧桥有几个桥洞？", "สะพานเก่าริมแม่น้ำสร้างเมื่อใด"]
    texts = [
        "昨天有人问：“请问河边的旧桥是在哪一年\n由谁主持修建完成的”？没有人知道。",
        "河边的旧桥是在哪一年修的？",
        "旧桥有几个桥洞",
    ]
    texts += ["สะพานเก่าริมแม่น้ำสร้างเมื่อใด ไม่มีใครรู้", "旧桥有几个桥"]
    assert pairs(check(items, texts)) == {("item 0", "0"), ("item 1", "2"), ("item 2", "3")}


def test_ngrams_that_several_items_have_are_no_evidence(check) -> None:
    template = "read the passage below with care and then say which one of the statements follows from it"
    items = [f"{template}: {say(random.Random(n), 20)}" for n in range(3)]
    short = ["what follows from all of this", f"what follows from all of this {say(random.Random(9), 20)}"]
    found = check([*items, *short], [template, items[1], short[0], short[1]])
    assert pairs(found) == {("item 1", "1"), ("item 4", "3")}
    assert found.facts["unchecked"] == ["item 3"]


def test_an_item_that_stands_in_two_sets_is_found_under_both_names(check) -> None:
    items = make_items(5, 20)[:3]
    found = check([*items, items[0].upper()], [items[0], items[1]])
    assert pairs(found) == {("item 0 = item 3", "0"), ("item 1", "1")}


def test_fields_are_joined_and_the_first_is_the_question(check) -> None:
    draw = random.Random(6)
    rows = [
        {"id": n, "question": say(draw, 9), "choices": [say(draw, 4) for _ in range(4)]} for n in range(3)
    ]
    texts = [
        f"{rows[0]['question']} {rows[0]['choices'][2]}",
        " ".join(rows[1]["choices"]),
        rows[2]["question"][:20],
    ]
    assert pairs(check(rows, texts, fields=["question", "choices"])) == {("0", "0"), ("1", "1")}
    with pytest.raises(ValueError, match=r"line 1: no text under 'text'.*set contamination\.fields"):
        check(rows, texts)


def test_lines_of_plain_text_are_items_and_documents_can_be_dropped(check, tmp_path: Path) -> None:
    items = make_items(7, 20)[:4]
    path = tmp_path / "items.txt"
    path.write_text("\n\n".join(items), encoding="utf-8")
    found = check([], [items[2], "nothing"], path=str(path), action="drop")
    assert found.dropped == {("train", "0"): "items.txt:5"}
    assert found.facts["dropped"] == {"train": 1, "val": 0}
    assert check([], [items[2]], path=str(path)).dropped == {}


def test_documents_do_not_run_into_each_other(check) -> None:
    item = make_items(8, 30)[0]
    words = item.split()
    halves = [" ".join(words[k : k + 12]) for k in range(0, len(words), 12)]
    assert not check([item], halves).hits
    assert pairs(check([item], ["\n".join(halves)])) == {("item 0", "0")}


def test_what_cannot_be_meant_is_refused(check, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"contamination\.words=3: must be 5 or more"):
        check(["x"], [], words=3)
    with pytest.raises(ValueError, match=r"contamination\.action=warn: must be report or drop"):
        check(["x"], [], action="warn")
    with pytest.raises(FileNotFoundError, match=r"contamination\.path"):
        check(["x"], [], path=str(tmp_path / "none"))


def test_the_choice_is_a_call_of_the_check(tmp_path: Path) -> None:
    (tmp_path / "items.txt").write_text("x")
    choice = yaml.safe_load((CONF / "data" / "contamination" / "check.yaml").read_text())
    assert build(choice | {"path": str(tmp_path / "items.txt")}).words == 13
    assert yaml.safe_load((CONF / "data" / "contamination" / "none.yaml").read_text()) == {}
