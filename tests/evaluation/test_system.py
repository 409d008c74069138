"""Rows of an evaluation are batched by length, and each example keeps its own prediction."""

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.evaluation.small import LETTERS, make_system
from triad.decoding.likelihood import TextScore, compute_perplexity
from triad.evaluation.choices import draw_shots, put_before, score_choices
from triad.evaluation.language_modelling import TextLikelihood, score_hidden, score_ngrams, score_texts
from triad.evaluation.seen import find_seen, fingerprint_examples
from triad.evaluation.system import PLACES, ROWS, collate, deal
from triad.layers.cross_entropy import IGNORED


class Echo:
    """Predicts the sum of the tokens of each row; an example is as many rows as it has words."""

    reads = ("tokens_BT", "number_B")
    judged_by = ("targets_BT",)

    def encode(self, example: dict[str, Any]) -> list[dict[str, Any]]:
        rows = [[LETTERS.index(letter) for letter in word] for word in example["text"].split()]
        return [{"tokens_BT": row, "targets_BT": row, "number_B": len(row), "cut": 1} for row in rows]

    def inputs(self, batch: dict, draw: Any) -> dict:
        return {"draws_BT": draw("test", batch["tokens_BT"].shape[1])}

    def predict(self, model: Any, *inputs: torch.Tensor) -> list[int]:
        tokens_BT, number_B, targets_BT = inputs
        assert ((tokens_BT >= 0).sum(-1) == number_B).all()
        assert ((targets_BT == IGNORED) == (tokens_BT < 0)).all()
        return (tokens_BT.clamp_min(0).sum(-1) * 100 + number_B).tolist()

    def combine(self, predictions: list[int]) -> list[int]:
        return predictions


def test_each_example_has_the_predictions_of_its_own_rows_in_their_order() -> None:
    draw = random.Random(0)
    texts = [
        " ".join("".join(draw.choices("abcd", k=draw.randint(1, 30))) for _ in range(draw.randint(0, 4)))
        for _ in range(150)
    ]
    task = Echo()
    found = make_system(context=16, task=task).predict([{"text": text} for text in texts])
    for text, predictions in zip(texts, found, strict=True):
        expected = [100 * sum(map(LETTERS.index, word)) + len(word) for word in text.split()]
        assert predictions == (expected or None)


def test_batches_hold_each_row_once_longest_first_within_their_bounds() -> None:
    draw = random.Random(1)
    lengths = [draw.choice([0, 1, 5, 700, PLACES + 1]) for _ in range(500)]
    batches = [*deal(lengths)]
    assert sorted(row for batch in batches for row in batch) == [*range(500)]
    longest = [max(lengths[row] for row in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)
    for batch, length in zip(batches, longest, strict=True):
        assert len(batch) == 1 or (len(batch) <= ROWS and len(batch) * length <= PLACES)
    assert [*deal([])] == []


def test_lists_are_padded_and_what_is_asked_of_them_ignored() -> None:
    assert collate("tokens_BT", [[5, 6], [7]]).tolist() == [[5, 6], [7, -1]]
    assert (
        collate("targets_BT", [[5, 6], []]).tolist()[1] == [collate("labels_BT", [[1], []])[1, 0].item()] * 2
    )
    assert collate("labels_B", [3, 4]).tolist() == [3, 4]


def test_texts_have_the_likelihood_that_the_whole_row_has() -> None:
    system = make_system(context=64)
    texts = ["abcd abcd", "d", "bca bbb a"]
    rows_NS = score_texts(system, [{"text": text} for text in texts], stride=64)
    for text, (nats, tokens, words, size) in zip(texts, rows_NS.tolist(), strict=True):
        ids = torch.tensor([len(LETTERS), *system.tokenizer.encode(text).tolist()])
        with torch.no_grad():
            logits_1TV = system.model(ids[None, :-1])[0]
        assert nats == pytest.approx(
            float(F.cross_entropy(logits_1TV[0], ids[1:], reduction="sum")), rel=1e-5
        )
        assert (tokens, words, size) == (len(text), len(text.split()), len(text))
    figures = TextLikelihood().compute(rows_NS.sum(0))
    assert figures["bits_per_byte"] == pytest.approx(rows_NS[:, 0].sum() / np.log(2) / rows_NS[:, 3].sum())
    assert figures["perplexity"] == pytest.approx(np.exp(rows_NS[:, 0].sum() / rows_NS[:, 1].sum()))


def test_n_grams_of_training_tell_its_own_texts_from_others() -> None:
    tokenizer = make_system(context=8).tokenizer
    training = [{"text": "abab abab abab"}] * 20
    known, unknown = score_ngrams(tokenizer, training, [{"text": "abab abab"}, {"text": "dcdc dcdc"}])
    assert compute_perplexity([TextScore(*known)])["perplexity"] < 1.6
    assert unknown[0] > 3 * known[0]
    assert known[1:].tolist() == [9, 2, 9]


def test_hidden_tokens_are_counted_in_rows_of_the_context() -> None:
    def measure(model: Any, tokens_BT: torch.Tensor, targets_BT: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"nll": tokens_BT.clamp_min(0).sum(), "count": (targets_BT >= 0).sum()}

    task = SimpleNamespace(reads=("tokens_BT", "targets_BT"), inputs=lambda batch, draw: {}, measure=measure)
    rows_NS = score_hidden(make_system(context=4, task=task), [{"text": "abcdabcda"}, {"text": ""}])
    assert rows_NS.tolist() == [[2 * (1 + 2 + 3), 9], [0, 0]]


def test_choices_are_scored_behind_their_own_question() -> None:
    system = make_system(context=32)
    examples = [
        {"question": "abc", "choices": ["d", "ab", "ca"], "answer": 0},
        {"question": "dd", "choices": ["c", "b"], "answer": 1},
    ]
    found = score_choices(system, examples)
    assert [[text for *_, text in choices] for choices in found] == [[" d", " ab", " ca"], [" c", " b"]]
    assert [[tokens for _, tokens, _ in choices] for choices in found] == [[2, 3, 3], [2, 2]]
    alone = score_choices(system, examples[1:])[0]
    np.testing.assert_allclose([one[0] for one in alone], [one[0] for one in found[1]], rtol=1e-4)


def test_shots_follow_from_the_seed_and_stand_before_the_question_with_their_answers() -> None:
    training = [{"question": f"{n}+1", "choices": ["no", str(n + 1)], "answer": 1} for n in range(20)]
    shots = draw_shots(training, 3, seed=7)
    assert shots == draw_shots(training, 3, seed=7) != draw_shots(training, 3, seed=8)
    assert len({shot["question"] for shot in shots}) == 3
    asked = put_before(shots[:2], {"question": "5+5", "choices": ["10", "x"], "answer": 0})
    one, two = (f"{shot['question']} {shot['choices'][1]}" for shot in shots[:2])
    assert asked["question"] == f"{one}\n\n{two}\n\n5+5"
    pair = put_before([{"source": "a", "target": "b"}], {"source": "c", "target": "d"})
    assert pair == {"source": "a b\n\nc", "target": "d"}
    with pytest.raises(ValueError, match="shots=21: the training split has 20 examples"):
        draw_shots(training, 21, seed=0)


def test_seen_is_what_a_model_reads_word_for_word_whatever_is_asked() -> None:
    training = [{"text": "a b", "label": "x"}, {"text": "c", "label": "y"}]
    asked = [{"text": "a b", "label": "y"}, {"text": "a  b", "label": "x"}, {"text": "c", "label": "y"}]
    assert find_seen(asked, training) == {0, 2}
    questions = [{"id": "1", "question": "q", "context": "c", "answers": [{"text": "c", "answer_start": 0}]}]
    assert find_seen([questions[0] | {"id": "2", "answers": []}], questions) == {0}
    assert find_seen([questions[0] | {"context": "other"}], questions) == set()
    assert fingerprint_examples(asked) != fingerprint_examples(asked[::-1])
