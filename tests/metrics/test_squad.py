"""SQuAD's exact match and F1, against torchmetrics where there are answers, and v2.0's rule where none is."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.text import squad

from triad.metrics.squad import Squad, normalise
from triad.metrics.sums import count_each

QUESTIONS = [  # prediction, answers, exact match, F1
    ("The Great-Hall of Aarhus", ["Great Hall of Aarhus", "great-hall of aarhus!"], 1.0, 1.0),
    ("1939\u20131945", ["1939-1945"], 0.0, 0.0),
    ("an \u00a0apple tree", ["The apple tree"], 1.0, 1.0),
    ("Zürich", ["Zurich", "in Zürich, Switzerland"], 0.0, 0.5),
    ("theatre of a nation", ["theatre of nation"], 1.0, 1.0),
    ("seven or eight", ["eight", "seven", "about seven or eight of them"], 0.0, 2 / 3),
]
WORDS = st.sampled_from(
    ["the", "The", "a", "an", "theatre", "great-hall", "the-hall", "hall,", "of", "1939", "Ä", "--", ""]
)
TEXTS = st.lists(WORDS, max_size=6).map(" ".join)
ANSWERS = st.lists(TEXTS.map("{} hall".format), min_size=1, max_size=3)  # of words that are no articles


def figures(rows) -> dict[str, float]:
    return Squad().compute(count_each(Squad(), rows).sum(0))


def test_articles_hyphens_dashes_spaces_and_several_answers_follow_the_official_rules() -> None:
    for prediction, answers, exact, f1 in QUESTIONS:
        assert Squad().count(prediction, answers) == (exact, pytest.approx(f1, abs=1e-12), 1.0), prediction
    found = figures([(prediction, answers) for prediction, answers, *_ in QUESTIONS])
    assert found == {"squad_em": 50.0, "squad_f1": pytest.approx(625 / 9, abs=1e-12)}
    assert normalise("Great-Hall") == "greathall"
    assert normalise("The A-Team of the-end") == "ateam of theend"  # punctuation goes first


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(TEXTS, ANSWERS), min_size=1, max_size=5))
def test_figures_of_answered_questions_are_those_of_torchmetrics(rows) -> None:
    predictions = [{"id": str(place), "prediction_text": guess} for place, (guess, _) in enumerate(rows)]
    targets = [
        {"id": str(place), "answers": {"text": answers, "answer_start": [0] * len(answers)}}
        for place, (_, answers) in enumerate(rows)
    ]
    expected: dict[str, torch.Tensor] = squad(predictions, targets)
    found = figures(rows)
    assert found["squad_em"] == pytest.approx(float(expected["exact_match"]), rel=1e-6)
    assert found["squad_f1"] == pytest.approx(float(expected["f1"]), rel=1e-6)


def test_texts_of_articles_alone_match_but_share_no_word_as_in_v1_1() -> None:
    assert Squad().count("the", ["an"]) == (1.0, 0.0, 1.0)


@pytest.mark.parametrize(("prediction", "right"), [("", 1.0), ("the", 1.0), ("!", 1.0), ("1939", 0.0)])
def test_a_question_without_answers_is_answered_by_nothing(prediction: str, right: float) -> None:
    assert Squad().count(prediction, []) == (right, right, 1.0)
