"""Segmentations are drawn by the distribution that is stated, and the same in every process."""

import io
import math
import subprocess
import sys
from collections import Counter
from itertools import product
from random import Random

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from triad.data.tokenizers.byte import Byte
from triad.data.tokenizers.segmentations import draw, draw_path
from triad.data.tokenizers.sentencepiece import SentencePiece
from triad.data.tokenizers.word import Word

STEMS = ["low", "new", "wide", "slow", "fast", "old", "cold", "warm", "young", "dark"]
ENDS = ("", "er", "est", "ly", "ness")
TEXT = "".join(" ".join(stem + end for end in ENDS for stem in STEMS[n:]) + "\n" for n in range(9)) * 5
DRAWS = 4000
EXAMPLES = settings(derandomize=True, max_examples=40, deadline=None, database=None)
TEXTS = st.lists(
    st.one_of(st.text(max_size=5), st.sampled_from(["lowest", " newer", "\u2581", "  ", "</s>", "é🙂"])),
    max_size=8,
).map("".join)


def learn(kind: str, vocab_size: int) -> SentencePiece:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.splitlines(keepends=True)),
        model_writer=model,
        model_type=kind,
        vocab_size=vocab_size,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        hard_vocab_limit=False,
        unk_id=0,
        eos_id=1,
        bos_id=-1,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return SentencePiece(model.getvalue())


@pytest.fixture(scope="module")
def models() -> dict[str, SentencePiece]:
    return {"bpe": learn("bpe", 330), "unigram": learn("unigram", 400)}


def count_draws(tokenizer: SentencePiece, word: str, alpha: float, nbest_size: int = -1) -> Counter:
    drawn = (tokenizer.encode_sampled(word, seed, alpha, nbest_size) for seed in range(DRAWS))
    return Counter(tuple(ids.tolist()) for ids in drawn)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("nbest_size", [-1, 5])
@EXAMPLES
@given(text=TEXTS, seed=st.integers(0, 2**63), alpha=st.floats(0, 1))
def test_every_segmentation_that_is_drawn_is_of_the_text(models, kind, nbest_size, text, seed, alpha):
    tokenizer = models[kind]
    ids = tokenizer.encode_sampled(text, seed, alpha, nbest_size)
    assert tokenizer.decode(ids) == text
    assert not {tokenizer.separator, tokenizer.unknown} & {*ids.tolist()}
    assert np.array_equal(ids, tokenizer.encode_sampled(text, seed, alpha, nbest_size))


@EXAMPLES
@given(text=TEXTS)
def test_without_dropout_the_merges_are_those_of_sentencepiece(models, text):
    assert models["bpe"].encode_sampled(text, 0, alpha=0).tolist() == models["bpe"].encode(text).tolist()


def test_with_certain_dropout_only_characters_are_left(models):
    ids = models["bpe"].encode_sampled(TEXT, 0, alpha=1)
    assert [models["bpe"].decode([i]) for i in ids] == [*TEXT]


def test_merges_are_dropped_as_often_as_sentencepiece_drops_them(models):
    """Its own sampler cannot be seeded over processes, so the bound is that of six standard deviations."""
    for word in (" slowest", "oldness warmer"):
        ours = count_draws(models["bpe"], word, alpha=0.3)
        sample = models["bpe"]._processor.encode
        theirs = Counter(tuple(sample(word, enable_sampling=True, alpha=0.3)) for _ in range(DRAWS))
        assert len(ours) > 10
        for ids in ours | theirs:
            spread = (ours[ids] + theirs[ids]) ** 0.5
            assert abs(ours[ids] - theirs[ids]) < 6 * spread + 6, (ids, ours[ids], theirs[ids])


@pytest.mark.parametrize(("alpha", "nbest_size"), [(0.2, -1), (1.0, -1), (0.2, 4)])
def test_unigrams_are_drawn_by_their_smoothed_probabilities(models, alpha, nbest_size):
    """All segmentations and their scores are sentencepiece's."""
    processor, word = models["unigram"]._processor, " slowest"
    best = [tuple(ids) for ids in processor.nbest_encode_as_ids(word, 500 if nbest_size < 0 else nbest_size)]
    assert 3 < len(best) < 500
    weights = [alpha * sum(map(processor.get_score, ids)) for ids in best]
    compare(count_draws(models["unigram"], word, alpha, nbest_size), dict(zip(best, weights, strict=True)))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_a_path_is_drawn_by_the_weights_of_all_ways_to_cut_a_word(alpha):
    word, unknown, chance = "abcabd", -9.0, Random(1)
    parts = {word[start:end] for start in range(6) for end in range(start + 1, 7) if end - start < 4}
    scores = {
        part: -3 * chance.random() * len(part) for part in sorted(parts) if part not in ("d", "bd", "bca")
    }
    weights = {}
    for cuts in product((False, True), repeat=5):
        path = tuple("".join(a + "|" * cut for a, cut in zip(word, (*cuts, False), strict=True)).split("|"))
        if all(part in scores or part == "d" for part in path):
            weights[path] = alpha * sum(scores.get(part, unknown) for part in path)
    assert len(weights) > 10
    random = Random(0)
    compare(Counter(tuple(draw_path(word, scores, 3, unknown, alpha, random)) for _ in range(DRAWS)), weights)


def compare(drawn: Counter, weights: dict[tuple, float]) -> None:
    """Draws must not be further from their probabilities, ~ exp(weight), than five standard deviations."""
    assert {*drawn} <= {*weights}
    total = sum(map(math.exp, weights.values()))
    for ids, weight in weights.items():
        p = math.exp(weight) / total
        assert abs(drawn[ids] - DRAWS * p) < 5 * (DRAWS * p * (1 - p)) ** 0.5 + 1, (ids, drawn[ids], p)


def test_a_seed_gives_the_same_segmentation_in_another_process(models, tmp_path):
    code = (
        "import sys, pathlib; from triad.data.tokenizers.tokenizer import load_tokenizer\n"
        "tokenizer = load_tokenizer(pathlib.Path(sys.argv[1]))\n"
        "print(tokenizer.encode_sampled('slowest newest wide', 7, 0.4).tolist())"
    )
    for kind, tokenizer in models.items():
        tokenizer.save(tmp_path / kind)
        command = [sys.executable, "-c", code, str(tmp_path / kind)]
        theirs = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert theirs.strip() == str(tokenizer.encode_sampled("slowest newest wide", 7, 0.4).tolist())
        assert len(count_draws(tokenizer, "slowest newest wide", 0.4)) > 10


@pytest.mark.parametrize("tokenizer", [Byte(), Word(["a"], [], False)], ids=["byte", "word"])
def test_a_tokenizer_of_one_segmentation_draws_none(tokenizer):
    with pytest.raises(ValueError, match=f"tokenizer={tokenizer.kind} knows one segmentation "):
        tokenizer.encode_sampled("a", 0, 0.1)


def test_a_weight_may_be_of_any_size():
    assert draw([("a", -1e9), ("b", -1e9 + 50)], Random(0)) == "b"
    assert draw([("a", 1e9), ("b", 1e9 - 50)], Random(0)) == "a"
