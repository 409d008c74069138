"""Passwords and keys do not leave the machine, and names of training are none."""

import pytest

from triad.config.errors import one_line
from triad.config.secrets import mask, mask_tree, mask_word

SECRET = "hunter2-9f8e7d6c5b4a3210"


@pytest.mark.parametrize(
    "text",
    [
        f"storage=postgresql://ada:{SECRET}@db.example.org/triad",
        f"storage=postgresql+psycopg2://ada:{SECRET}@db:5432/t?sslmode=require: no such host",
        f"https://ada:p@ss/{SECRET}@host/path",
        f"+password = '{SECRET}'",
        f'+    "api_key": "{SECRET}",',
        f"could not connect: host=db user=ada password={SECRET} dbname=t",
        f"+HUB_TOKEN = '{SECRET}'",
        f"export WANDB_API_KEY={SECRET}",
        "a key of a hub: hf_" + SECRET.replace("-", ""),
    ],
)
def test_a_text_has_no_secret_in_it_any_more_and_says_that_there_was_one(text: str) -> None:
    for shown in (mask(text), mask_word(text), one_line(ValueError(text)), mask_tree({"a": [text]})["a"][0]):
        assert SECRET not in shown
        assert SECRET.replace("-", "") not in shown
        assert "***" in shown


@pytest.mark.parametrize(
    "word",
    [f"hub.token={SECRET}", f"+data.key={SECRET}", "db.password=12345", f"API_KEY={SECRET}", "secret=x"],
)
def test_a_word_whose_key_says_so_keeps_its_key_only(word: str) -> None:
    key, _, value = word.partition("=")
    assert mask_word(word) == f"{key}=***"
    tree = mask_tree({"a": {key.lstrip("+"): value}, "b": [word]})
    assert value not in str(tree)


@pytest.mark.parametrize(
    "word",
    [
        "tokenizer=bpe",
        "data.tokens=400000",
        "data.token_budget=1000",
        "pad_token=0",
        "model.token=null",
        "query_key_norm=true",
        "model.key_shift=1.5",
        "tokenizer.vocab_size=512",
        "sorted(rows, key=lambda row: row.step)",
        "sample(token=token_id, key=name)",
        "+    token: str = field()",
        "unknown key: 'widht'; did you mean 'width'?",
        "no token: 'U+2581' is in the vocabulary",
        "http://host:8080/path",
        "https://example.org/a@b",
        "def f(tokens: list[int]) -> str:",
    ],
)
def test_what_is_no_secret_stays_as_it_is(word: str) -> None:
    assert mask(word) == word
    if "(" not in word and ":" not in word:
        key, _, value = word.partition("=")
        assert mask_word(word) == word
        assert mask_tree({key: value}) == {key: value}
