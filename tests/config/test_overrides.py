"""What is typed and what is composed comes through Hydra as it was."""

import math
import random
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from triad.config.compose import compose
from triad.config.errors import Refusal
from triad.config.overrides import quote, quote_typed

PIECES = [*"'\"\\,{}[]()$=:#é数1e-3_./~+*%@!|&<; \n\t\u2028\u202e", "${seed}", "${", "true", "null", "NaN"]
PIECES += ["inf", "choice(", "0x", "1e-3", "2024_01_05", "\U0001f600"]


def read_back(word: str) -> Any:
    """The value that Hydra and OmegaConf give a key for a word."""
    override = OverridesParser.create().parse_override(word)
    assert not override.is_sweep_override()
    config = OmegaConf.create({"seed": 1, "x": None})
    OmegaConf.update(config, "x", override.value(), merge=True)
    return OmegaConf.to_container(config, resolve=True)["x"]  # ty: ignore


def draw_texts(number: int) -> list[str]:
    chosen = random.Random(7)
    texts = ["".join(chosen.choices(PIECES, k=chosen.randint(0, 7))) for _ in range(number)]
    return texts + ["".join(map(chr, chosen.sample(range(32, 0xD800), 5))) for _ in range(number)]


def test_a_quoted_text_is_read_back_as_itself() -> None:
    for text in draw_texts(200):
        assert read_back(f"x={quote(text)}") == text
        assert read_back(f"x={quote([text, {'k': text}])}") == [text, {"k": text}]


def test_other_values_are_read_back_with_their_types() -> None:
    for value in (1, -3, 1e-5, 1e22, math.inf, -math.inf, True, False, None, [], {}, [1, None, "true"], "1"):
        found = read_back(f"x={quote(value)}")
        assert (found, type(found)) == (value, type(value))


def test_what_is_typed_for_a_text_is_taken_literally() -> None:
    for text in draw_texts(100):
        quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
        if "${" in text or not text or quoted:
            continue
        (word,) = quote_typed([f"output_dir={text}"])
        assert read_back(f"x={word.partition('=')[2]}") == text
        assert quote_typed([word]) == [word]


@pytest.mark.parametrize(
    ("typed", "quoted"),
    [
        ("run_id=2024_01_05", "run_id='2024_01_05'"),
        ("run_id=null", "run_id=null"),
        ("output_dir=null", "output_dir='null'"),
        ("output_dir=out (1), José", "output_dir='out (1), José'"),
        ("data.path=my file (2).txt", "data.path='my file (2).txt'"),
        ("data.path=[a.txt,b.txt]", "data.path=[a.txt,b.txt]"),
        ("callbacks.sample.prompt=[", "callbacks.sample.prompt='['"),
        ("weights=1e-3", "weights='1e-3'"),
        ("run_id='a b'", "run_id='a b'"),
        ("run_id=w${model.width}", "run_id=w${model.width}"),
        ("optimizer.lr=1e-3", "optimizer.lr=1e-3"),
        ("trainer.devices=2", "trainer.devices=2"),
        ("tags=[a,b]", "tags=[a,b]"),
        ("model=moe", "model=moe"),
        ("~callbacks.sample", "~callbacks.sample"),
    ],
)
def test_only_texts_are_quoted(typed: str, quoted: str) -> None:
    assert quote_typed([typed]) == [quoted]


def test_commas_name_several_under_multirun_alone() -> None:
    words = ["run_id=a,b c", "data.path=choice(a,b)", "seed=0,1"]
    assert quote_typed(words, sweep=True) == ["run_id=a,'b c'", "data.path=choice(a,b)", "seed=0,1"]
    assert quote_typed(words[:1]) == ["run_id='a,b c'"]


def test_a_name_of_digits_and_a_folder_with_commas_are_composed_as_typed() -> None:
    config = compose(["run_id=2024_01_05", "output_dir=out (1), José"])
    assert (config["run_id"], config["output_dir"]) == ("2024_01_05", "out (1), José")


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("run_id=..", "does not begin with a dot"),
        ("run_id=.hidden", "does not begin with a dot"),
        ("run_id=a/../../x", "a name has no /"),
        ("run_id=/tmp/x", "a name has no /"),
        ("run_id=''", "it is empty"),
        ("run_id=  ", "it is empty"),
        ("run_id=a\nb", "control characters"),
        ("run_id=a\udcff", "control characters"),
        ("output_dir=''", "it is empty"),
        ("output_dir=a\x1b[31m", "control characters"),
    ],
)
def test_a_name_that_is_none_is_refused(word: str, sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        compose([word])
