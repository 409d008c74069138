"""Constrained texts: a regular expression, strings and tokens that are allowed or banned."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triad.data.tokenizers.byte import Byte
from triad.data.tokenizers.char import Char
from triad.data.tokenizers.tokenizer import Tokenizer
from triad.data.tokenizers.word import Word
from triad.decoding.constraints import Constraint
from triad.decoding.patterns import RegularExpression, Without

LETTERS = "abß👍0 \n"


def matches(automaton: RegularExpression | Without, text: str) -> bool:
    state = automaton.start
    for byte in text.encode():
        state = automaton.step(state, byte)
        if state is None:
            return False
    return automaton.accepts(state)


def expressions() -> st.SearchStrategy[str]:
    sets = [".", r"\d", r"\w", r"\s", r"\W", "[^aß]", "[a-ß]", r"[^\d👍]", "(?i:A)", "(?s:.)"]
    return st.recursive(
        st.sampled_from(["a", "b", "ß", "👍", *sets, ""]),
        lambda inner: st.one_of(
            st.tuples(inner, inner).map("".join),
            st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
            st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{0,2}?", "*?", "{2,}"])).map(
                lambda two: f"({two[0]}){two[1]}"
            ),
        ),
        max_leaves=6,
    )


@given(expressions(), st.lists(st.text(alphabet=LETTERS, max_size=6), max_size=8))
@settings(derandomize=True, max_examples=120, deadline=None)
def test_an_expression_matches_what_python_matches(pattern: str, texts: list[str]) -> None:
    automaton = RegularExpression(pattern)
    for text in ("", *LETTERS, *texts):
        assert matches(automaton, text) == bool(re.fullmatch(pattern, text)), (pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [("^ab$", "ab"), (r"\Aab\Z", "ab"), ("(?i)straße", "STRAẞE"), ("(?x) a  b # c", "ab"), ("(?a)\\w", "ß")],
)
def test_anchors_at_the_ends_and_flags_are_known(pattern: str, text: str) -> None:
    assert matches(RegularExpression(pattern), text) == bool(re.fullmatch(pattern, text))


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        (r"(a)\1", "groupref depends on other places"),
        (r"a(?=b)", "assert depends on other places"),
        (r"\bab", "at depends on other places"),
        (r"a*+b", "possessive repeat depends on other places"),
        (r"(ab", "no regular expression"),
        (r"a{70000}", "shorten its repetitions"),
        (r"((a{100}){100}){100}", "shorten its repetitions"),
    ],
)
def test_what_is_not_followed_is_refused(pattern: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        RegularExpression(pattern)


@given(
    st.lists(st.text(alphabet="abß", min_size=1, max_size=4), min_size=1, max_size=4),
    st.text(alphabet="abß", max_size=12),
)
@settings(derandomize=True, max_examples=300, deadline=None)
def test_a_text_without_some_strings_has_none_of_them(strings: list[str], text: str) -> None:
    assert matches(Without(strings), text) == (not any(string in text for string in strings))


def tokenizers(bpe: Tokenizer) -> dict[str, Tokenizer]:
    words = ["the", " cat", " sat", "cat", " ", ".", " ß", "ab", "b", "a", "2026", "-", "11", "0", "1"]
    return {
        "byte": Byte(),
        "char": Char("".join(sorted({*" abcehnost.ß0126-"}))),
        "word": Word(words, [], lowercase=False),
        "bpe": bpe,
    }


def draw(tokenizer: Tokenizer, constraint: Constraint, most: int, source: random.Random) -> str:
    """What is drawn with equal probabilities; every text has to end by itself before `most` are reached."""
    tokens: list[int] = []
    while not constraint.stopped(tokens):
        assert len(tokens) < most
        mask_V = constraint(tokens)
        assert mask_V is not None
        token = source.choice(mask_V.nonzero()[:, 0].tolist())
        if token == tokenizer.separator:
            break
        tokens.append(token)
    return b"".join(tokenizer.pieces[token] for token in tokens).decode()  # it is UTF-8


@pytest.mark.parametrize("name", ["byte", "char", "word", "bpe"])
@pytest.mark.parametrize("pattern", [r"\d{4}-\d\d", r"(the|a)( cat| sat)*\.?", r"[ab]{2,3}| ß.*", r"\S+"])
def test_a_constraint_is_never_broken_and_every_text_ends(name: str, pattern: str, bpe: Tokenizer) -> None:
    tokenizer, most = tokenizers(bpe)[name], 24
    ends = [] if tokenizer.separator is None else [tokenizer.separator]
    asked = {"ends": ends, "vocab_size": tokenizer.vocab_size, "max_tokens": most}
    constraint = Constraint(tokenizer, **asked, regex=pattern, ban=["tt", "11", " cat cat"])
    source, seen = random.Random(0), set()
    for _ in range(250):  # 1,000 a tokenizer
        seen.add(text := draw(tokenizer, constraint, most, source))
        assert re.fullmatch(pattern, text), text
        assert not any(banned in text for banned in ("tt", "11", " cat cat")), text
    assert len(seen) > 2


def test_a_dead_end_is_not_entered() -> None:
    tokenizer = Char("abx")  # behind "a" only "c" would do, which is no token
    constraint = Constraint(tokenizer, ends=[], vocab_size=3, max_tokens=9, regex="ac|bx")
    assert constraint([]).tolist() == [False, True, False]
    assert constraint([1]).tolist() == [False, False, True]
    assert constraint([1, 2]) is None
    assert [constraint.stopped(tokens) for tokens in ([], [1], [1, 2])] == [False, False, True]


def test_a_text_is_completed_by_its_last_token() -> None:
    constraint = Constraint(Byte(), ends=[256], vocab_size=257, max_tokens=4, regex="(ab)*")
    assert set(constraint([]).nonzero()[:, 0].tolist()) == {ord("a"), 256}
    assert set(constraint([*b"ab"]).nonzero()[:, 0].tolist()) == {ord("a"), 256}
    assert constraint.stopped([*b"abab"])
    odd = Constraint(Byte(), ends=[256], vocab_size=257, max_tokens=3, regex="(ab)*")
    assert odd.stopped([*b"ab"])  # a third token could not be completed
    assert not odd.is_complete([*b"ab"])


def test_tokens_are_allowed_and_banned_by_their_ids() -> None:
    asked = {"ends": [256], "vocab_size": 258, "max_tokens": 5}
    allowed = Constraint(Byte(), **asked, allow=[65, 66])
    assert set(allowed([]).nonzero()[:, 0].tolist()) == {65, 66, 256}
    banned = Constraint(Byte(), **asked, ban=[65, 256])
    assert set(range(258)) - set(banned([1]).nonzero()[:, 0].tolist()) == {65, 256}
    both = Constraint(Byte(), **asked, regex="[A-C]+", ban=[66])
    assert set(both([65]).nonzero()[:, 0].tolist()) == {65, 67, 256}


def test_allowed_strings_make_up_the_text() -> None:
    constraint = Constraint(Byte(), ends=[256], vocab_size=257, max_tokens=9, allow=["ja", "no."])
    source = random.Random(1)
    for _ in range(100):
        assert re.fullmatch(r"(ja|no\.)*", draw(Byte(), constraint, 9, source))


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        ({"regex": "ü"}, "no text of this vocabulary's tokens"),
        ({"regex": "a{9}"}, r"tokens=8: regex=a\{9\} asks for 9 at least; raise tokens"),
        ({"regex": "b{0}"}, "only the empty text is allowed"),
        ({"ban": [3]}, "3 is no token of this vocabulary of 3"),
        ({"allow": [-1]}, "-1 is no token"),
        ({"ban": [""]}, "an empty string stands everywhere"),
        ({"allow": [1, "a"]}, "not of both"),
    ],
)
def test_what_cannot_be_followed_is_refused(asked: dict, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Constraint(Char("abx"), ends=[], vocab_size=3, max_tokens=8, **asked)


def test_strings_are_not_watched_where_pieces_are_not_the_text() -> None:
    tokenizer = Char("ab")
    tokenizer.joins = False
    with pytest.raises(ValueError, match="constrain it by the ids of tokens"):
        Constraint(tokenizer, ends=[], vocab_size=2, max_tokens=8, ban=["ab"])
    Constraint(tokenizer, ends=[], vocab_size=2, max_tokens=8, ban=[0])
