"""Baselines are what the field calls them."""

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from triad.data.tokenizers.byte import Byte
from triad.evaluation.baselines import MostFrequentTag, NaiveBayes, lead, make_baselines

WORDS = ["good", "bad", "Film", "film", "the", "a", "plot", "cast", "dull", "fine", "42"]


class Labels:
    """A task with labels that cuts texts to 40 bytes."""

    predicts = "a label"
    labels = ("x", "y", "z")
    tokenizer = Byte()

    def encode(self, example: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"tokens_BT": [256, *self.tokenizer.encode(example["text"]).tolist()][:40]}]

    def references(self, example: dict[str, Any]) -> list[int]:
        return [self.labels.index(example["label"])]


def write_examples(number: int, seed: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    return [
        {"text": ", ".join(draw.choices(WORDS, k=draw.randint(1, 12))), "label": draw.choice("xxyz")}
        for _ in range(number)
    ]


def test_naive_bayes_has_the_probabilities_of_scikit_learn_s_on_the_text_that_is_cut() -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text")
    bayes = pytest.importorskip("sklearn.naive_bayes")
    task, training, asked = Labels(), write_examples(120, 0), write_examples(40, 1)
    asked += [{"text": "unheard of", "label": "x"}]

    def cut(examples: list[dict[str, Any]]) -> list[str]:
        return [example["text"][:39] for example in examples]

    vectorizer = text.CountVectorizer(token_pattern=r"\w+")
    theirs = bayes.MultinomialNB(alpha=1.0)
    theirs.fit(vectorizer.fit_transform(cut(training)), [example["label"] for example in training])
    ours = NaiveBayes(task, training)
    expected = theirs.predict_proba(vectorizer.transform(cut(asked)))
    np.testing.assert_allclose([ours(example) for example in asked], expected, rtol=1e-9)


def test_the_majority_is_the_shares_of_the_labels_whatever_the_text() -> None:
    training = [{"text": "t", "label": label} for label in "yyyx"]
    name, predict = next(iter(make_baselines(Labels(), lambda: training)))
    assert name == "majority"
    np.testing.assert_allclose(predict({"text": "anything"}), [0.25, 0.75, 0])


def test_a_label_that_training_lacks_is_never_likely() -> None:
    ours = NaiveBayes(Labels(), [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}])
    found = ours({"text": "a b c"})
    assert found[2] == 0
    assert found.sum() == pytest.approx(1)


def test_a_tag_is_the_word_s_most_frequent_or_that_of_all() -> None:
    training = [
        {"words": ["Ann", "ran", "to", "Rome"], "tags": ["B-PER", "O", "O", "B-LOC"]},
        {"words": ["Ann", "Rome"], "tags": ["B-LOC", "B-LOC"]},
        {"words": ["Ann"], "tags": ["B-PER"]},
    ]
    assert MostFrequentTag(training)({"words": ["Ann", "Rome", "ran", "home"]}) == [
        "B-PER",
        "B-LOC",
        "O",
        "B-LOC",
    ]


@pytest.mark.parametrize(
    ("text", "one", "three"),
    [
        ("One. Two! Three? Four.", "One.", "One. Two! Three?"),
        ("It costs 3.50 now. Yes.", "It costs 3.50 now.", "It costs 3.50 now. Yes."),
        ("no mark at all", "no mark at all", "no mark at all"),
        ("", "", ""),
    ],
)
def test_a_lead_is_the_first_sentences(text: str, one: str, three: str) -> None:
    assert (lead(text, 1), lead(text, 3)) == (one, three)


def test_text_is_copied_from_source_draft_or_last_message() -> None:
    task = SimpleNamespace(predicts="a sequence")
    copy = dict(make_baselines(task, list))["copy"]
    assert copy({"source": "s", "target": "t"}) == "s"
    assert copy({"source": "s", "draft": "d", "target": "t"}) == "d"
    messages = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
    assert copy({"messages": messages}) == "u"
