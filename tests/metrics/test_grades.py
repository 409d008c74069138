"""Metrics of ordered classes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from triad.metrics.grades import predict_grade
from triad.metrics.mae import MAE
from triad.metrics.quadratic_kappa import QuadraticKappa
from triad.metrics.sums import count_each

GRADES = tuple("01234")


def figures(metric, guesses, golds) -> dict[str, float]:
    rows = [(np.eye(5)[guess], [gold]) for guess, gold in zip(guesses, golds, strict=True)]
    return metric.compute(count_each(metric, rows).sum(0))


def test_kappa_is_over_the_grades_that_are_declared() -> None:
    gold, guess = [0, 1, 1, 3, 4, 4], [0, 1, 3, 3, 3, 4]  # grade 2 nowhere
    found = figures(QuadraticKappa(GRADES), guess, gold)["quadratic_kappa"]
    assert found == pytest.approx(0.810126582278481, abs=1e-12)
    assert figures(MAE(), guess, gold)["mae"] == 0.5


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
def test_what_grades_are_judged_by_is_what_scikit_learn_computes(rows) -> None:
    guesses, golds = zip(*rows, strict=True)
    assert figures(MAE(), guesses, golds)["mae"] == pytest.approx(sklearn.mean_absolute_error(golds, guesses))
    found = figures(QuadraticKappa(GRADES), guesses, golds)["quadratic_kappa"]
    if len({*guesses, *golds}) == 1:
        assert found == 0.0  # 0/0
    else:
        theirs = sklearn.cohen_kappa_score(golds, guesses, labels=range(5), weights="quadratic")
        assert found == pytest.approx(theirs, abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=7))
def test_the_predicted_grade_has_the_least_expected_distance(weights) -> None:
    probabilities = np.array(weights) / sum(weights)
    grades = np.arange(len(weights))
    expected = [(probabilities * abs(grades - grade)).sum() for grade in grades]
    assert expected[predict_grade(probabilities)] == pytest.approx(min(expected), abs=1e-9)
