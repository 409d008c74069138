"""Multiple choice by likelihood: what a tie counts, and what scores are divided by."""

from fractions import Fraction

import numpy as np
import pytest

from triad.metrics.choice import Choice

ROWS = [  # choices with their log probabilities and tokens, and the right one; a constant model's come first
    ([(-4.0, 1, " green"), (-4.0, 1, " red"), (-4.0, 1, " blue"), (-4.0, 1, " grey")], 0),
    ([(-4.0, 1, " four"), (-4.0, 1, " five")], 1),
    ([(-4.0, 1, " hot"), (-4.0, 1, " cold"), (-4.0, 1, " dry")], 1),
    ([(-5.0, 2, " süß"), (-7.0, 2, " salzig")], 1),
    ([(-3.0, 1, " Tee"), (-9.0, 4, " Kaffee mit Milch")], 0),
    ([(-2.0, 2, " Öl"), (-1.875, 1, " Go")], 1),
]


def measure(rows: list) -> dict[str, float]:
    metric = Choice()
    statistics = np.array([metric.count(choices, [right]) for choices, right in rows])
    assert statistics.shape == (len(rows), metric.size)
    return metric.compute(statistics.sum(0))


def test_each_normalisation_has_its_accuracy_and_its_ties() -> None:
    found = measure(ROWS)
    accuracies = {"": "37/72", "_per_token": "13/72", "_per_character": "3/4", "_per_byte": "5/12"}
    for name, share in accuracies.items():
        assert found[f"accuracy{name}"] == pytest.approx(float(Fraction(share)), abs=1e-15)
    ties = [found[f"ties{name}"] * len(ROWS) for name in accuracies]
    assert ties == pytest.approx([3, 3, 1, 1])
    assert {*found} == {*Choice.higher_is_better, *Choice.lower_is_better}


def test_a_constant_model_has_the_accuracy_of_chance() -> None:
    assert measure(ROWS[:3])["accuracy"] == pytest.approx((1 / 4 + 1 / 2 + 1 / 3) / 3, abs=1e-15)


@pytest.mark.parametrize("nats", [-0.1, -1 / 3, -4.7e-5, -1234.567])
def test_an_nth_of_n_equal_terms_is_the_term(nats: float) -> None:
    choices = [(n * nats, n, "x" * n) for n in range(1, 100)]
    found = measure([(choices, 7)])
    assert found["accuracy_per_token"] == found["accuracy_per_character"] == pytest.approx(1 / 99)


def test_choices_without_any_probability_are_a_tie() -> None:
    assert measure([([(-np.inf, 1, "a"), (-np.inf, 1, "b")], 1)])["accuracy"] == 0.5


@pytest.mark.parametrize("right", [-1, 2])
def test_a_right_choice_that_is_not_there_is_refused(right: int) -> None:
    with pytest.raises(ValueError, match="of 2 choices"):
        Choice().count([(-1.0, 1, "a"), (-2.0, 1, "b")], [right])


def test_an_empty_choice_is_refused() -> None:
    with pytest.raises(ValueError, match="a choice is empty"):
        Choice().count([(-1.0, 1, "a"), (0.0, 0, "")], [0])
