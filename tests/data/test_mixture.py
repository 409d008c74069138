"""The rows of a mixture: its shares, its order, and what a resumed run may change."""

from fractions import Fraction
from itertools import accumulate

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from triad.data.mixture import FINEST, MixtureOrder, Turns, divide_period, take_turns

three_weights = st.lists(st.integers(0, 9), min_size=3, max_size=3).filter(any)
weights_of = st.lists(st.integers(0, 60), min_size=1, max_size=7).filter(any)


def transcribe_tijdeman(rows_N: list[int]) -> list[int]:
    """The rule as the paper states it: of those that may come, the one that must come first; in fractions."""
    period = sum(rows_N)
    shares = {n: Fraction(rows, period) for n, rows in enumerate(rows_N) if rows}
    slack = 1 - Fraction(1, max(2 * len(shares) - 2, 1))
    counts, order = dict.fromkeys(shares, 0), []
    for j in range(1, period + 1):
        may = [n for n in shares if shares[n] * j - counts[n] >= 1 - slack] or list(shares)
        chosen = min(may, key=lambda n: ((slack - shares[n] * j + counts[n]) / shares[n], n))
        counts[chosen] += 1
        order.append(chosen)
    return order


@given(weights_of)
@settings(derandomize=True, max_examples=150, deadline=None)
def test_after_any_number_of_rows_each_source_has_its_share_within_one_row(rows_N: list[int]) -> None:
    turns = Turns([Fraction(rows) for rows in rows_N])
    active = sum(rows > 0 for rows in rows_N)
    bound = 1 - Fraction(1, max(2 * active - 2, 1))
    for j in range(2 * len(turns.source_W) + 2):
        for count, rows in zip(turns.count(j).tolist(), rows_N, strict=True):
            assert abs(count - Fraction(rows * j, sum(rows_N))) <= bound


@given(weights_of)
@settings(derandomize=True, max_examples=100, deadline=None)
def test_the_order_is_the_one_of_tijdemans_rule(rows_N: list[int]) -> None:
    assert take_turns(rows_N).tolist() == transcribe_tijdeman(rows_N)


@given(
    st.lists(
        st.tuples(st.integers(1, 50), st.lists(st.integers(0, 9), min_size=3, max_size=3).filter(any)),
        min_size=1,
        max_size=5,
    ),
    st.integers(0, 60),
)
@settings(derandomize=True, max_examples=150, deadline=None)
def test_no_row_of_a_source_is_lost_or_repeated_when_weights_change(stages, at) -> None:
    firsts = [0, *accumulate(length for length, _ in stages[:-1])]
    order = MixtureOrder(
        [(first, list(map(Fraction, w))) for first, (_, w) in zip(firsts, stages, strict=True)]
    )
    rows = np.arange(firsts[-1] + 80)
    source_R, own_R = order.find(rows)
    for n in range(3):
        own = own_R[source_R == n]
        assert own.tolist() == list(range(len(own)))  # each once, in its order, through all stages
        assert order.count(len(rows))[n] == len(own)
        assert order.count(at)[n] == (source_R[:at] == n).sum()
    later = order.find(rows[at:])
    assert (later[0] == source_R[at:]).all()
    assert (later[1] == own_R[at:]).all()


def test_weights_without_a_short_common_period_are_rounded_and_none_is_lost() -> None:
    given_weights = [Fraction(1, 3), Fraction(10**7 + 19, 10**8), Fraction(1, 10**9), Fraction(0)]
    rows_N = divide_period(given_weights)
    assert sum(rows_N) == FINEST
    assert rows_N[2:] == [1, 0]
    for rows, weight in zip(rows_N, given_weights, strict=True):
        assert abs(Fraction(rows, FINEST) - weight / sum(given_weights)) <= Fraction(1, FINEST)
    order = take_turns(rows_N)
    each = np.stack([np.cumsum(order == n) for n in range(3)], 1)
    due = np.outer(np.arange(1, FINEST + 1), np.array(rows_N[:3]) / FINEST)
    assert np.abs(each - due).max() < 1


def test_the_cost_of_a_row_does_not_grow_with_the_rows_before_it() -> None:
    order = MixtureOrder([(0, [Fraction(7), Fraction(3)]), (10**12, [Fraction(1), Fraction(1)])])
    assert order.count(10**12 + 4).tolist() == [7 * 10**11 + 2, 3 * 10**11 + 2]
    source_R, own_R = order.find(np.array([10**12 + 2, 10**12 + 3]))
    assert sorted(zip(source_R.tolist(), own_R.tolist(), strict=True)) == [
        (0, 7 * 10**11 + 1),
        (1, 3 * 10**11 + 1),
    ]
