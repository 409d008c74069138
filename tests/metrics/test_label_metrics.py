"""Metrics of labels and of their probabilities, against scikit-learn and fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from triad.metrics.accuracy import Accuracy
from triad.metrics.ece import ECE
from triad.metrics.f1 import F1
from triad.metrics.matthews import Matthews
from triad.metrics.precision import Precision
from triad.metrics.recall import Recall
from triad.metrics.sums import count_each

LABELS = tuple("abcde")
ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30)


def figures(metric, guesses, golds, classes=5) -> dict[str, float]:
    rows = [(np.eye(classes)[guess], [gold]) for guess, gold in zip(guesses, golds, strict=True)]
    return metric.compute(count_each(metric, rows).sum(0))


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_what_labels_are_judged_by_is_what_scikit_learn_computes(rows) -> None:
    guesses, golds = zip(*rows, strict=True)
    assert figures(Accuracy(), guesses, golds)["accuracy"] == sklearn.accuracy_score(golds, guesses)
    for metric, name, theirs in (
        (Precision, "precision", sklearn.precision_score),
        (Recall, "recall", sklearn.recall_score),
        (F1, "f1", sklearn.f1_score),
    ):
        found = figures(metric(LABELS, None), guesses, golds)
        for average in ("macro", "micro"):
            expected = theirs(golds, guesses, average=average, zero_division=0)
            assert found[f"{average}_{name}"] == pytest.approx(expected, abs=1e-12), (name, average)


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_matthews_correlation_is_that_of_scikit_learn(rows) -> None:
    guesses, golds = zip(*rows, strict=True)
    found = figures(Matthews(LABELS), guesses, golds)["matthews"]
    expected = sklearn.matthews_corrcoef(golds, guesses) if len({*golds, *guesses}) > 1 else 0.0
    assert found == pytest.approx(expected, abs=1e-12)


def test_macro_f1_is_the_mean_over_labels_in_gold_or_prediction() -> None:
    gold, guess = [0, 0, 1, 1, 1, 4, 4, 0], [0, 1, 1, 1, 3, 4, 0, 0]  # label 2 nowhere, label 3 only guessed
    assert figures(F1(LABELS, None), guess, gold)["macro_f1"] == pytest.approx(0.5, abs=1e-12)


def test_a_model_that_always_says_the_same_correlates_with_nothing() -> None:
    assert figures(Matthews(("no", "yes")), [1, 1, 1, 1], [1, 0, 1, 1], classes=2) == {"matthews": 0.0}
    assert figures(Matthews(LABELS), [3, 3], [3, 3]) == {"matthews": 0.0}


def test_some_labels_alone_are_averaged_over_and_another_name_is_refused() -> None:
    gold, guess = [0, 0, 1, 1, 2, 2, 2], [0, 2, 1, 2, 2, 1, 2]
    found = figures(F1(("against", "favor", "none"), only=["favor", "against"]), guess, gold, classes=3)
    for average in ("macro", "micro"):
        expected = sklearn.f1_score(gold, guess, labels=[0, 1], average=average)
        assert found[f"{average}_f1"] == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ValueError, match="only=neutral is none of the labels: use some of against, favor"):
        F1(("against", "favor"), only=["neutral"])


def test_confidences_fall_into_bins_that_are_closed_on_the_left_and_the_last_one_on_both_sides() -> None:
    confidence = [1.0, 1.0, 0.95, 0.9, 0.6, 0.5, 0.5, 0.2]
    right = [1, 0, 1, 1, 1, 0, 1, 0]
    metric = ECE(bins=10)
    rows = [
        (np.array([p] + [(1 - p) / 9] * 9), [int(not ok)]) for p, ok in zip(confidence, right, strict=True)
    ]
    found = metric.compute(count_each(metric, rows).sum(0))["ece"]
    assert found == pytest.approx(29 / 160, abs=1e-12)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(50, 100), st.booleans()), min_size=1, max_size=40),
    st.sampled_from([7, 10, 100]),
)
def test_the_calibration_error_is_that_of_fractions(rows, bins) -> None:
    sums = [[Fraction(0), Fraction(0)] for _ in range(bins)]
    for percent, right in rows:
        index = min(percent * bins // 100, bins - 1)
        sums[index][0] += Fraction(percent, 100)
        sums[index][1] += int(right)
    expected = sum(abs(right - confidence) for confidence, right in sums) / len(rows)
    metric = ECE(bins=bins)
    given_rows = [(np.array([p / 100, 1 - p / 100]), [int(not right)]) for p, right in rows]
    found = metric.compute(count_each(metric, given_rows).sum(0))["ece"]
    assert found == pytest.approx(float(expected), abs=1e-9)
