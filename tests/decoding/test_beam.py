"""Beam search against transformers, against all texts of a toy, and against greedy decoding."""

import math
from functools import cache
from itertools import product
from typing import Any

import pytest
import torch

from benchmarks.transformers_models import Sizes, gpt2, t5
from tests.decoding.small_models import CONTEXT, WORDS, make
from tests.decoding.toy import Table
from triad.decoding.beam import Beam
from triad.decoding.decode import decode
from triad.decoding.greedy import Greedy
from triad.decoding.hypothesis import Hypothesis


def search(beams: int = 5, length_penalty: float = 0.6, rule: Any = "gnmt", early: Any = False) -> Beam:
    return Beam(beams, length_penalty, rule, early, repetition_penalty=1.0)


def chances(text: tuple[int, ...], table: Table) -> float:
    """log p of a text that follows token 1."""
    pairs = zip((1, *text), text, strict=False)
    return sum(float(table.logits[before, token]) for before, token in pairs)


def all_texts(longest: int) -> list[tuple[int, ...]]:
    """Those that end with 0, and those of full length that do not."""
    bodies = [body for length in range(longest) for body in product((1, 2, 3), repeat=length)]
    return [*((*body, 0) for body in bodies), *product((1, 2, 3), repeat=longest)]


def rank(table: Table, longest: int, length_penalty: float, rule: str) -> list[tuple[int, ...]]:
    """All texts, the best first."""

    def score(text: tuple[int, ...]) -> float:
        size = len(text) if rule == "power" else (5 + len(text)) / 6
        return chances(text, table) / size**length_penalty

    return sorted(all_texts(longest), key=score, reverse=True)


def with_end(found: Hypothesis, end: int = 0) -> tuple[int, ...]:
    return (*found.tokens, *[end] * found.finished)


TABLE = [[8, 11, 7, 6], [4, 9, 7, 12], [6, 7, 3, 16], [8, 11, 7, 6]]
EARLY = [[5, 6, 11, 10], [10, 9, 8, 5], [8, 7, 5, 12], [12, 7, 9, 4]]
ASKED: Any = {"ends": [0], "context": 16, "vocab_size": 4}


@pytest.mark.parametrize("rule", ["gnmt", "power"])
@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("rows", [TABLE, EARLY])
def test_a_beam_of_full_width_finds_the_best_of_all_texts(
    rows: list, length_penalty: float, rule: str
) -> None:
    table, wide = Table(rows), search(243, length_penalty, rule, "never")
    found = decode(table, [[1]], wide, max_tokens=5, n=9, **ASKED)[0]
    best = rank(table, 5, length_penalty, rule)
    expected = [chances(text, table) for text in best[:9]]
    assert [hypothesis.log_probability for hypothesis in found] == pytest.approx(expected)
    assert with_end(found[0]) == best[0]


@pytest.mark.parametrize(
    ("rule", "length_penalty", "best"),
    [
        *(("gnmt", 0.0, (0,)), ("gnmt", 0.6, (0,)), ("gnmt", 1.0, (3, 0))),
        *(("power", 0.0, (0,)), ("power", 0.6, (3, 0)), ("power", 1.0, (3, 1, 3, 1, 3))),
    ],
)
@pytest.mark.parametrize("beams", [5, 64])
def test_the_two_rules_of_length_prefer_different_texts(
    rule: str, length_penalty: float, best: tuple, beams: int
) -> None:
    """Of all texts of at most 5 tokens, enumerated by hand; transformers agrees where the rule is its own."""
    found = decode(Table(TABLE), [[1]], search(beams, length_penalty, rule), max_tokens=5, **ASKED)
    assert with_end(found[0][0]) == best


@pytest.mark.parametrize(("early", "best"), [(True, (0,)), (False, (2, 3, 0)), ("never", (2, 3, 0))])
def test_early_stopping_takes_the_first_texts_that_end(early: bool | str, best: tuple) -> None:
    """As transformers 5.24 does."""
    found = decode(Table(EARLY), [[1]], search(2, 1.0, "power", early), max_tokens=6, **ASKED)
    assert with_end(found[0][0]) == best


SIZES = Sizes(depth=2, width=32, heads=4, context=24, vocab_size=31, spread=20.0)
PROMPTS = [[3, 8, 1], [5], [30, 2, 2, 9, 9], [17, 4]]


@pytest.mark.parametrize(
    ("length_penalty", "early"), [(0.0, False), (1.0, False), (-0.5, False), (1.0, True), (1.0, "never")]
)
def test_five_beams_of_a_decoder_are_those_of_transformers(length_penalty: float, early: Any) -> None:
    pytest.importorskip("transformers")
    for seed in range(2):
        theirs, ours = pair(gpt2, seed)
        found = decode(
            ours,
            PROMPTS,
            search(5, length_penalty, "power", early),
            ends=[7],
            max_tokens=12,
            context=24,
            vocab_size=31,
            n=5,
        )
        for prompt, texts in zip(PROMPTS, found, strict=True):
            given = torch.tensor([prompt])
            expected = theirs.generate(
                given,
                attention_mask=torch.ones_like(given),
                num_beams=5,
                max_new_tokens=12,
                do_sample=False,
                length_penalty=length_penalty,
                early_stopping=early,
                num_return_sequences=5,
            )[:, len(prompt) :].tolist()
            assert [pad(with_end(text, 7), expected[0]) for text in texts] == expected


@cache
def pair(make_pair: Any, seed: int) -> list[Any]:
    """Theirs and ours, in fp64."""
    return [model.double() for model in make_pair(SIZES, seed, end=7)]


def pad(text: tuple[int, ...], like: list[int], end: int = 7) -> list[int]:
    return [*text, *[end] * (len(like) - len(text))]


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_five_beams_of_an_encoder_decoder_are_those_of_transformers(length_penalty: float) -> None:
    pytest.importorskip("transformers")
    for seed in range(2):
        theirs, ours = pair(t5, seed)
        found = decode(
            ours,
            [[7]] * 4,
            search(5, length_penalty, "power"),
            ends=[7],
            max_tokens=12,
            context=24,
            vocab_size=31,
            sources=PROMPTS,
            n=5,
        )
        for source, texts in zip(PROMPTS, found, strict=True):
            given = torch.tensor([source])
            expected = theirs.generate(
                given,
                attention_mask=torch.ones_like(given),
                num_beams=5,
                max_new_tokens=12,
                do_sample=False,
                length_penalty=length_penalty,
                early_stopping=False,
                num_return_sequences=5,
            )[:, 1:].tolist()
            assert [pad(with_end(text, 7), expected[0]) for text in texts] == expected


@pytest.mark.parametrize("name", ["decoder", "lstm", "hybrid", "mistral_7b", "deepseek_v3", "t5_small"])
def test_one_beam_is_greedy_and_beams_do_not_depend_on_the_batch_or_the_cache(name: str) -> None:
    model = make(name)
    prompts = [[5], [3, 0, 7, 2], [1, 4, 9], [12, 10]]
    asked: Any = {"ends": [7], "max_tokens": 8, "context": CONTEXT, "vocab_size": WORDS}
    read = [[1, 2, 3], [4], [9, 9], [2, 8]] if model.sees == "source" else None
    greedy = decode(model, prompts, Greedy(), sources=read, **asked)
    for (a,), (b,) in zip(greedy, decode(model, prompts, search(1), sources=read, **asked), strict=True):
        assert (a.tokens, a.finished) == (b.tokens, b.finished)
        assert math.isclose(a.log_probability, b.log_probability, rel_tol=1e-9)
    together = decode(model, prompts, search(4), sources=read, n=4, **asked)
    for index, prompt in enumerate(prompts):
        given = read and [read[index]]
        alone = decode(model, [prompt], search(4), sources=given, n=4, **asked)[0]
        assert [text.tokens for text in alone] == [text.tokens for text in together[index]]
        for text in alone:  # without a cache
            whole = torch.tensor([[*prompt, *with_end(text, 7)]])
            with torch.no_grad():
                logits_TV = model(*([torch.tensor(given)] if given else []), whole)[0][0].log_softmax(-1)
            new = range(len(prompt), whole.shape[1])
            log_probability = sum(float(logits_TV[at - 1, whole[0, at]]) for at in new)
            assert math.isclose(text.log_probability, log_probability, rel_tol=1e-9)


def test_more_texts_than_beams_or_no_beams_are_refused() -> None:
    with pytest.raises(ValueError, match=r"n=3 texts of decoding\.beams=2: at most as many as beams"):
        decode(Table(TABLE), [[1]], search(2), max_tokens=5, n=3, **ASKED)
    with pytest.raises(ValueError, match=r"decoding\.beams=0: at least 1"):
        search(0)
