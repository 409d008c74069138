"""What `triad fertility` says of languages."""

import json
from collections import Counter

import pytest

from triad.data.tokenizers.byte import Byte
from triad.data.tokenizers.word import Word
from triad.fertility import describe, measure

LANGUAGES = {
    "en": "The quick brown fox jumps over the lazy dog and runs into the forest where nobody sees it. ",
    "de": "Der schnelle braune Fuchs springt über den faulen Hund und läuft in den Wald. ",
    "zh": "敏捷的棕色狐狸跳过懒狗,跑进黑暗的森林,再也没有人看到它,大家都很想念它。",
}


def test_sizes_are_those_of_the_text():
    assert measure("Tür auf!", Byte()) == Counter(
        {"texts": 1, "characters": 8, "bytes": 9, "words": 2, "tokens": 9, "unknown": 0, "lost": 0}
    )
    assert measure("你好", Byte())["words"] == 2
    word = measure("ab cd", Word(["ab"], [], False))
    assert (word["tokens"], word["unknown"], word["lost"]) == (2, 1, 1)
    assert [*describe(word + measure("ab", Word(["ab"], [], False)))][2:] == [
        *("1.00", "0.429", "2.33", "33.3%", "50.0%"),
    ]
    assert [*describe(measure("...", Byte()))][2] == "-"


@pytest.mark.slow
def test_a_table_has_a_line_for_each_language_in_80_columns(python, tmp_path):
    lines = [json.dumps({"text": f"{text}{n}"}) for n in range(40) for text in LANGUAGES.values()]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    words = ("data=text", "data.path=texts.jsonl", "tokenizer=byte", "split=train")
    table = python("-m", "triad.fertility", *words).stdout
    assert max(map(len, table.splitlines())) <= 80
    rows = {row[0]: row for line in table.splitlines() if len(row := line.split()) == 8}
    assert {"de", "en", "zh", "all"} <= rows.keys()
    assert [rows[name][5] for name in ("de", "en", "zh")] == ["1.00"] * 3  # bytes per token
    assert float(rows["zh"][4]) > 2.5 > 1.2 > float(rows["de"][4])  # bytes per character
