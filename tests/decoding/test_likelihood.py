"""The probability of texts: where a continuation begins, what padding, batches and windows change."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from triad.config.build import build
from triad.config.compose import compose
from triad.data.tokenizers.byte import Byte
from triad.data.tokenizers.char import Char
from triad.data.tokenizers.huggingface import HuggingFace
from triad.data.tokenizers.tokenizer import Tokenizer
from triad.data.tokenizers.word import Word
from triad.decoding.likelihood import (
    Row,
    TextScore,
    compute_perplexity,
    score_continuations,
    score_rows,
    score_text,
    score_windows,
    tokenize_pair,
)

CONTEXT = 32


class Formula(nn.Module):
    """A model whose log probabilities are a function of the tokens before."""

    def __init__(self, log_probability: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.log_probability = log_probability
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, tokens_BT: Tensor, loss: Callable) -> tuple[Any, tuple]:
        logits_BTV = self.log_probability(tokens_BT).double()
        return loss(logits_BTV, torch.eye(logits_BTV.shape[-1], dtype=torch.double)), ()


def merging_tokenizer() -> HuggingFace:
    """It has the merges G a r t e n, of which the last joins "Gar" and "ten", and a <s>."""
    merges = [("e", "n"), ("t", "en"), ("G", "a"), ("Ga", "r"), ("Gar", "ten")]
    words = ["<s>", *"Garten? Wo", *("".join(pair) for pair in merges)]
    sequences = [{"Sequence": {"id": name, "type_id": i}} for i, name in enumerate("AB")]
    spec = {
        "version": "1.0",
        "added_tokens": [
            {"id": 0, "content": "<s>", "special": True}
            | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        ],
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, sequences[0]],
            "pair": sequences,
            "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
        },
        "decoder": None,
        "model": {
            "type": "BPE",
            "vocab": {word: i for i, word in enumerate(words)},
            "merges": [list(pair) for pair in merges],
        },
    }
    return HuggingFace(json.dumps(spec).encode(), "<s>")


@pytest.mark.parametrize(
    ("context", "continuation", "before", "scored"),
    [
        ("Gar", "ten", ["<s>"], ["Garten"]),  # one token spans the boundary
        ("Gar", "ten?", ["<s>"], ["Garten", "?"]),
        ("Gar", " ten", ["<s>", "Gar"], [" ", "ten"]),
        ("Wo? ", "ten", ["<s>", "W", "o", "?", " "], ["ten"]),
        ("", "Garten", ["<s>"], ["Garten"]),
    ],
)
def test_a_token_that_ends_behind_the_boundary_is_of_the_continuation(
    context: str, continuation: str, before: list[str], scored: list[str]
) -> None:
    tokenizer = merging_tokenizer()
    tokens, first = tokenize_pair(tokenizer, context, continuation)
    found = [tokenizer._tokenizer.id_to_token(i) for i in tokens]
    assert (found[:first], found[first:]) == (before, scored)


BYTES = Byte()
TOKENIZERS = {
    "byte": BYTES,
    "char": Char("".join(sorted({*"Grüße, 👍 ja?"}))),
    "word": Word(["Grüße", ",", " 👍", " ja"], [], lowercase=False),
    "huggingface": merging_tokenizer(),
}


def encode_with_ends(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[int]]:
    ids, _, ends = tokenizer.encode_with_offsets(text)
    return ids.tolist(), ends.tolist()


@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokens_end_where_their_characters_do(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    text = "Garten? Wo" if name == "huggingface" else "Grüße, 👍 ja?"
    ids, ends = encode_with_ends(tokenizer, text)
    assert ids == tokenizer.encode(text).tolist()
    assert ends == sorted(ends)
    assert ends[-1] == len(text)
    for cut in range(
        len(text) + 1
    ):  # the tokens that end before a place spell no more than what is before it
        spelled = b"".join(tokenizer.pieces[i] for i, end in zip(ids, ends, strict=True) if end <= cut)
        if name != "word":  # which has an unknown token here
            assert text[:cut].encode().startswith(spelled)


def test_words_that_are_unknown_or_made_small_have_their_places() -> None:
    tokenizer = Word(["der", " hund"], [], lowercase=True)
    assert encode_with_ends(tokenizer, "Der Uhu, der Hund") == ([2, 0, 0, 0, 3], [3, 7, 8, 12, 17])


def test_learned_pieces_and_bytes_of_characters_without_one_have_their_places(bpe: Tokenizer) -> None:
    text = "the cat \u2581 \u4f60 sat"
    ids, ends = encode_with_ends(bpe, text)
    assert len(ids) == len(ends)
    assert ends[-1] == len(text)
    marked = [
        end for i, end in zip(ids, ends, strict=True) if len(bpe.pieces[i]) == 1 and bpe.pieces[i] > b"\x7f"
    ]
    assert marked == [9, 9, 9, 11, 11, 11]


PAIRS = [
    ("The cat", " sat."),
    ("", "A"),
    ("x" * 20, "yz"),
    ("Grü", "ße"),
    ("a b c", " d"),
    ("x" * 60, "tail"),  # the beginning does not fit
    ("q", "w" * 30),
    *((str(n), f" is {n}") for n in range(60)),
]


def make_model(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    words = {"bloom_7b1": ["model.attention.heads=4"], "encoder_decoder": ["task=copy"]}.get(name, [])
    config = compose(["debug=tiny", f"model={name}", "model.width=48", f"context={CONTEXT}", *words])
    model = build(config["model"])(vocab_size=257).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1, generator=generator)
    return model.to(dtype).requires_grad_(False)


def naive_score(model: nn.Module, context: str, continuation: str) -> float:
    """A row by itself, from the logits."""
    tokens = [256, *(context + continuation).encode()]
    asked = len(continuation.encode())
    given = tokens[:-1][-CONTEXT:]
    log_p = model(torch.tensor([given]))[0][0].log_softmax(-1)
    return sum(float(log_p[place, token]) for place, token in enumerate(tokens[-asked:], len(given) - asked))


@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"),
    [
        ("decoder", torch.float64, 1e-12),
        ("decoder", torch.float32, 1e-5),
        ("bloom_7b1", torch.float64, 1e-12),
        ("lstm", torch.float64, 1e-12),
        ("hybrid", torch.float64, 1e-12),
    ],
)
def test_batches_and_padding_at_either_side_change_no_score(
    name: str, dtype: torch.dtype, tolerance: float
) -> None:
    model = make_model(name, dtype)
    expected = [naive_score(model, *pair) for pair in PAIRS]
    for batch_size, padding in ((1, "right"), (7, "right"), (7, "left"), (64, "right"), (64, "left")):
        scores = score_continuations(
            model, BYTES, PAIRS, context=CONTEXT, batch_size=batch_size, padding=padding
        )
        np.testing.assert_allclose(
            [score.log_probability for score in scores], expected, rtol=tolerance, atol=tolerance
        )
        assert [score.tokens for score in scores] == [len(text.encode()) for _, text in PAIRS]
        assert [score.left_out for score in scores[:6]] == [0, 0, 0, 0, 0, 60 + 4 - CONTEXT]


def test_the_source_of_an_encoder_decoder_is_read_and_padding_changes_nothing() -> None:
    model = make_model("encoder_decoder")
    rows = [Row([256, 1, 2, 3], 1, [5, 6]), Row([256, 4], 1, [7, 8, 9, 10]), Row([256, 9, 9], 2, [1])]
    together = score_rows(model, rows, batch_size=3)
    for row, (nats, _) in zip(rows, together, strict=True):
        log_p = model(torch.tensor([row.source]), torch.tensor([row.tokens[:-1]]))[0][0].log_softmax(-1)
        expected = [float(log_p[i - 1, row.tokens[i]]) for i in range(row.first, len(row.tokens))]
        assert nats == pytest.approx(expected, abs=1e-12)


def test_half_precision_logits_are_summed_in_fp32() -> None:
    logits_V = torch.tensor([7.03125, 7.0, 6.96875, -3.0]).bfloat16()
    model = Formula(lambda tokens_BT: torch.zeros(1))
    model.forward = lambda tokens_BT, loss: (
        loss(logits_V.expand(*tokens_BT.shape, 4), torch.eye(4).bfloat16()),
        (),
    )
    ((nats, greedy),) = score_rows(model, [Row([0, 0, 1], 1)])
    expected = logits_V.double().log_softmax(-1)
    assert nats == pytest.approx([float(expected[0]), float(expected[1])], abs=1e-6)
    assert not greedy


def test_a_continuation_is_greedy_if_each_token_is_the_likeliest() -> None:
    model = Formula(lambda tokens_BT: nn.functional.one_hot((tokens_BT + 1) % 257, 257) * 3.0)
    scores = score_continuations(model, BYTES, [("a", "bcd"), ("a", "bce")], context=CONTEXT)
    assert [score.greedy for score in scores] == [True, False]


@pytest.mark.parametrize(
    ("tokenizer", "pair", "fault"),
    [
        (BYTES, ("a", ""), "no token of it"),
        (BYTES, ("a", "b" * 40), "does not fit into context=32"),
        (Char("ab"), ("", "a"), "no separator; give a context"),
    ],
)
def test_what_cannot_be_scored_is_refused(tokenizer: Tokenizer, pair: tuple[str, str], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        score_continuations(Formula(lambda x: x), tokenizer, [pair], context=CONTEXT)


IDS = [0, 1, 2, 0, 1, 3, 3, 0, 1, 2, 2, 2, 0, 1, 2, 0, 3, 1, 0, 1]
SEPARATOR = 4


def counting_model() -> Formula:
    """p(t | w) = (1 + how often t is in w) / (4 + the length of w); the separator is not counted."""

    def log_probability(tokens_BT: Tensor) -> Tensor:
        count_BTV = nn.functional.one_hot(tokens_BT.clamp_min(0), 5).cumsum(1)[..., :4].double()
        return ((1 + count_BTV) / (4 + count_BTV.sum(-1, keepdim=True))).log()

    return Formula(log_probability)


@pytest.mark.parametrize(
    ("window", "stride", "perplexity"),
    [  # of exact fractions; transformers' guide gives those of "targets"
        ("targets", 1, 4.84508139619784),
        ("targets", 3, 4.82337543859684),
        ("targets", 5, 5.0216882568603705),
        ("targets", 8, 4.4423893461259825),
        ("inputs", 1, 4.9049164608002656),
        ("inputs", 3, 5.016328840103837),
        ("inputs", 5, 4.870650471156049),
        ("inputs", 8, 4.706827301936103),
    ],
)
def test_windows_score_each_token_once(window: Any, stride: int, perplexity: float) -> None:
    asked = {"context": 8, "stride": stride, "window": window, "separator": SEPARATOR}
    for batch_size in (1, 3):
        scored = score_windows(counting_model(), IDS, **asked, batch_size=batch_size)
        assert len(scored) == len(IDS) - 1
        assert math.exp(-sum(scored) / len(scored)) == pytest.approx(perplexity, rel=1e-14)


def test_a_window_without_a_token_before_its_first_is_refused() -> None:
    with pytest.raises(ValueError, match="lower stride below context=8"):
        score_windows(counting_model(), IDS, context=8, stride=8, window="targets")
    with pytest.raises(ValueError, match="at most context=8"):
        score_windows(counting_model(), IDS, context=8, stride=9)


def test_a_text_that_fits_is_scored_as_a_whole_and_a_longer_one_in_full() -> None:
    model = make_model("decoder")
    short, long = "Grüße an alle", "eins zwei drei vier " * 9
    score = score_text(model, BYTES, short, context=CONTEXT, stride=5)
    assert score.nats == pytest.approx(-naive_score(model, "", short), abs=1e-12)
    assert score[1:] == (len(short.encode()), 3, len(short.encode()))
    for window in ("inputs", "targets"):
        for stride in (1, 7, CONTEXT):
            found = score_text(model, BYTES, long, context=CONTEXT, stride=stride, window=window)
            assert found[1:] == (len(long), 36, len(long))


def test_without_a_separator_the_first_token_is_not_counted() -> None:
    model, tokenizer = make_model("decoder"), Char("".join(map(chr, range(97, 97 + 26))) + "ß")
    score = score_text(model, tokenizer, "ßabc", context=CONTEXT, stride=5)
    assert score[1:] == (3, 1, 3)


def test_perplexities_are_of_sums_over_counts() -> None:
    scores = [TextScore(10.0, 4, 2, 8), TextScore(2.0, 2, 1, 16)]
    found = compute_perplexity(scores)
    assert found == pytest.approx(
        {
            "perplexity": math.exp(12 / 6),
            "word_perplexity": math.exp(12 / 3),
            "bits_per_byte": 12 / math.log(2) / 24,
        }
    )


def test_an_empty_text_has_no_perplexity() -> None:
    score = score_text(make_model("decoder"), BYTES, "", context=CONTEXT, stride=5)
    assert score.tokens == 0
    assert all(map(math.isnan, compute_perplexity([score]).values()))
