"""Spans of tags. The counts of drawn tags are seqeval 1.2.2's: `get_entities`, and `Entities(..., IOB2)`."""

import random

import numpy as np
import pytest

from triad.metrics.span_f1 import SpanF1, find_spans
from triad.metrics.sums import count_each

NAMES = ["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]
ILL_FORMED = [  # gold and predicted tags of sentences: I- at the start, after another type, inside of one
    ("B-PER I-PER O B-ORG", "I-PER I-PER O B-ORG"),
    ("O B-LOC I-LOC O", "O B-LOC I-ORG O"),
    ("B-PER B-PER O O", "B-PER I-PER O O"),
    ("B-ORG I-ORG I-ORG O", "B-ORG I-PER I-ORG O"),
    ("O O O B-LOC", "O O O B-LOC"),
    ("B-ORG O O", "I-LOC O O"),
]


def sums(pairs) -> list[float]:
    return count_each(SpanF1(), [(guess, [gold]) for gold, guess in pairs]).sum(0).tolist()


def test_tags_that_are_no_proper_bio_are_read_by_conllevals_rule_and_strictly() -> None:
    counted = sums([(gold.split(), guess.split()) for gold, guess in ILL_FORMED])
    assert counted == [3, 10, 8, 2, 5, 8]
    found = SpanF1().compute(np.array(counted))
    assert (found["span_precision"], found["span_recall"]) == (0.3, 0.375)
    assert found["span_f1"] == pytest.approx(1 / 3, abs=1e-12)
    assert found["strict_span_f1"] == pytest.approx(4 / 13, abs=1e-12)


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (0, [142, 188, 192, 79, 111, 103]),
        (1, [177, 224, 220, 91, 119, 115]),
        (2, [148, 203, 201, 79, 106, 106]),
        (3, [145, 185, 179, 81, 109, 100]),
    ],
)
def test_spans_of_drawn_tags_are_those_that_seqeval_finds(seed: int, expected: list[int]) -> None:
    draw = random.Random(seed)
    gold = [[draw.choice(NAMES) for _ in range(draw.randint(1, 9))] for _ in range(60)]
    pairs = [(tags, [tag if draw.random() < 0.75 else draw.choice(NAMES) for tag in tags]) for tags in gold]
    assert sums(pairs) == expected


def test_a_span_ends_with_its_sentence() -> None:
    apart = sums([(["O", "B-LOC"], ["O", "B-LOC"]), (["I-LOC"], ["I-LOC"])])
    assert apart[:3] == [2, 2, 2]
    assert find_spans(["O", "B-LOC", "I-LOC"], strict=False) == [("LOC", 1, 3)]


def test_another_scheme_and_another_number_of_words_are_refused() -> None:
    with pytest.raises(ValueError, match="tag E-PER: tags of spans are O, B-<type> and I-<type>"):
        find_spans(["B-PER", "E-PER"], strict=True)
    with pytest.raises(ValueError, match="1 tags are predicted of a sentence of 2 words"):
        SpanF1().count(["O"], [["O", "O"]])
