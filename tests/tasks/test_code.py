"""Source code as rows: gaps, parts, completions."""

from functools import partial

import pytest

from triad.data.tokenizers.byte import Byte
from triad.layers.cross_entropy import IGNORED
from triad.tasks.code import Code

END, PRE, SUF, MID = range(257, 261)
STOP = ["\nclass", "\ndef"]
TEXT = "def täglich(n):\n    return n + 1  # ✓\n\n\n" * 9


def make(rate: float = 1.0, spm: float = 0.5, context: int = 64, longest: int = 20) -> Code:
    rows = partial(Code, rate=rate, spm=spm, stop=STOP)
    return rows(tokenizer=Byte(), context=context, longest=longest)


def read(row: dict) -> list[int]:
    return [row["tokens_BT"][0], *row["targets_BT"]]


def between(row: list[int], first: int, last: int) -> list[int]:
    return row[row.index(first) + 1 : row.index(last)]


@pytest.mark.parametrize("spm", [0.0, 1.0])
def test_the_parts_around_a_gap_and_in_it_give_the_text_again(spm: float) -> None:
    rows = [read(row) for row in make(spm=spm).encode({"text": TEXT})]
    assert len(rows) > 6
    text = b""
    for row in rows:
        if spm:
            assert row[:2] == [PRE, SUF]
            text += bytes(between(row, MID, END) + between(row, SUF, MID))
        else:
            assert row[0] == PRE
            text += bytes(between(row, PRE, SUF) + between(row, MID, END) + between(row, SUF, MID))
        assert [word for word in row if word >= END] == ([PRE, SUF, MID, END])
        assert row.index(END) == len(row) - 1
        assert len(row) - 1 <= 64
    assert len(text) == len(TEXT.encode())
    if not spm:
        assert text.decode() == TEXT


def test_in_the_order_spm_the_gap_follows_its_prefix() -> None:
    """What stands behind <mid> is the text up to the suffix, so the whole is the text in another order."""
    for row in map(read, make(spm=1.0).encode({"text": TEXT})):
        assert bytes(between(row, MID, END) + between(row, SUF, MID)).decode() in TEXT


def test_without_gaps_parts_end_with_lines_and_give_the_text_again() -> None:
    rows = [read(row) for row in make(rate=0.0).encode({"text": TEXT})]
    assert b"".join(bytes(row[:-1]) for row in rows).decode() == TEXT
    assert all(row[-1] == END and max(row[:-1]) < END for row in rows)
    assert all(row[-2] == ord("\n") for row in rows)


def test_a_line_that_does_not_fit_is_cut_where_a_character_ends() -> None:
    rows = [read(row) for row in make(rate=0.0, context=10).encode({"text": "ä✓" * 40})]
    assert "".join(bytes(row[:-1]).decode() for row in rows) == "ä✓" * 40


@pytest.mark.parametrize(("rate", "spm"), [(0.5, 0.5), (0.9, 0.2)])
def test_gaps_and_orders_come_as_often_as_is_asked(rate: float, spm: float) -> None:
    texts = [f"x{n} = {n * 7919 % 1000}\n" for n in range(2000)]
    rows = [read(row) for text in texts for row in make(rate, spm).encode({"text": text})]
    gaps = [row for row in rows if row[0] == PRE]
    assert len(rows) == 2000
    assert abs(len(gaps) - 2000 * rate) < 4 * (2000 * rate * (1 - rate)) ** 0.5  # four standard deviations
    swapped = sum(row[1] == SUF and len(row) > 5 for row in gaps)
    assert abs(swapped - len(gaps) * spm) < 4 * (len(gaps) * spm * (1 - spm)) ** 0.5 + len(gaps) / 10
    assert rows == [read(row) for text in texts for row in make(rate, spm).encode({"text": text})]


def test_a_gap_begins_and_ends_anywhere() -> None:
    places = {
        (row.index(SUF), row.index(MID))
        for n in range(4000)
        for row in map(read, make(spm=0.0).encode({"text": f"{n:04}"}))
    }
    assert places == {(1 + begin, 2 + begin + 4 - end) for begin in range(5) for end in range(begin, 5)}


def test_of_a_program_the_completion_is_asked_and_the_prompt_keeps_its_end() -> None:
    program = {"prompt": "p" * 60 + "def f():\n", "canonical_solution": "    return 1\n" + "y" * 30}
    (row,) = make().encode(program)
    assert len(row["tokens_BT"]) == 64
    assert row["cut"] == (69 - 44) + (43 - 20)
    asked = [target for target in row["targets_BT"] if target != IGNORED]
    assert asked == [*b"    return 1\nyyyyyyy", END]
    assert bytes(row["tokens_BT"][:44]).endswith(b"pdef f():\n")


def test_a_completion_ends_before_a_stop_string() -> None:
    assert make().trim("    return 1\n\ndef g():") == "    return 1\n"
    assert make().trim("    return 1\n") == "    return 1\n"
    assert make().references({"prompt": "p", "test": "t", "entry_point": "f", "canonical_solution": "s"}) == [
        {"prompt": "p", "test": "t", "entry_point": "f"}
    ]
