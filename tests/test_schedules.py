"""Schedules at the points where their closed form is known."""

import math

import pytest

from triad import schedules

STEPS, WARMUP = 1000, 100


@pytest.mark.parametrize(
    ("schedule", "middle", "last"),
    [
        (lambda k: schedules.constant(k, STEPS, WARMUP), 1.0, 1.0),
        (lambda k: schedules.linear(k, STEPS, WARMUP, 0.1), 1 - 0.9 * (550 - 100) / 899, 0.1),
        (
            lambda k: schedules.cosine(k, STEPS, WARMUP, 0.1),
            0.1 + 0.45 * (1 + math.cos(math.pi * 450 / 899)),
            0.1,
        ),
        (lambda k: schedules.inverse_sqrt(k, STEPS, WARMUP), math.sqrt(100 / 551), math.sqrt(100 / 1000)),
        (lambda k: schedules.wsd(k, STEPS, WARMUP, 0.25, 0.0), 1.0, 0.0),
    ],
    ids=["constant", "linear", "cosine", "inverse_sqrt", "wsd"],
)
def test_values_at_the_start_the_end_of_warm_up_the_middle_and_the_end(
    schedule, middle: float, last: float
) -> None:
    assert schedule(0) == pytest.approx(1 / WARMUP)
    assert schedule(WARMUP - 1) == pytest.approx(1.0)
    assert schedule(550) == pytest.approx(middle)
    assert schedule(STEPS - 1) == pytest.approx(last)


def test_wsd_stays_at_one_until_its_last_phase() -> None:
    values = [schedules.wsd(k, 1000, 10, 0.5, 0.0) for k in range(1000)]
    assert values[9:501] == [1.0] * 492
    assert values[750] == pytest.approx(1 - 250 / 499)


def test_noam_is_the_formula_of_the_paper_scaled_to_its_peak() -> None:
    width, warmup = 512, 4000
    for step in (0, 100, 3999, 4000, 100_000):
        n = step + 1
        paper = width**-0.5 * min(n**-0.5, n * warmup**-1.5)
        assert schedules.inverse_sqrt(step, 10**6, warmup) == pytest.approx(
            paper / (width**-0.5 * warmup**-0.5)
        )


def test_no_warm_up_starts_at_the_full_rate() -> None:
    assert schedules.linear(0, 10, 0, 0.0) == 1.0
    assert schedules.cosine(0, 10, 0, 0.0) == 1.0
    assert schedules.inverse_sqrt(0, 10, 0) == 1.0


def test_a_fixed_batch_consumes_the_same_rows_each_step() -> None:
    assert [schedules.fixed(k, 12) for k in range(4)] == [0, 12, 24, 36]
