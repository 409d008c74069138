"""Confidence intervals and the paired test, against sacrebleu, scipy and the normal approximation."""

import math
import random

import numpy as np
import pytest
import sacrebleu
from sacrebleu.significance import PairedTest, _bootstrap_resample
from scipy import stats

from triad.metrics.accuracy import Accuracy
from triad.metrics.bleu import BLEU
from triad.metrics.bootstrap import compare_paired, confidence_intervals, draw_resamples
from triad.metrics.sums import count_each
from triad.metrics.ter import TER


def draw_system(seed: int, faults: float, n: int = 60) -> tuple[list[str], list[str]]:
    """Hypotheses with faults, and their references, which are the same for every seed of faults."""
    words, faulty = ["the", "a", "cat", "dog", "sat", "on", "mat", "hat", "red", "blue"], random.Random(seed)
    draw = random.Random(0)
    golds = [[draw.choice(words) for _ in range(draw.randint(4, 9))] for _ in range(n)]
    guesses = [[w if faulty.random() > faults else faulty.choice(words) for w in gold] for gold in golds]
    return [" ".join(guess) for guess in guesses], [" ".join(gold) for gold in golds]


def rows_of(metric, guesses: list[str], golds: list[str]) -> np.ndarray:
    return count_each(metric, [(guess, [gold]) for guess, gold in zip(guesses, golds, strict=True)])


def test_a_seed_draws_the_resamples_that_sacrebleu_draws() -> None:
    guesses, golds = draw_system(1, 0.2)
    metric, theirs = BLEU("13a", lowercase=False), sacrebleu.BLEU()
    rows = rows_of(metric, guesses, golds)
    _, scores = _bootstrap_resample(theirs._extract_corpus_statistics(guesses, [golds]), theirs, 200)
    ours = [metric.compute(times @ rows)["bleu"] for times in draw_resamples(len(rows), 200, 12345)]
    assert ours == pytest.approx([score.score for score in scores], rel=1e-6)  # it sums in fp32
    found = confidence_intervals(metric, rows, resamples=200)["bleu"]
    assert found.value == theirs.corpus_score(guesses, [golds]).score
    assert (found.low, found.high) == pytest.approx(np.quantile(ours, [0.025, 0.975]), abs=1e-9)


@pytest.mark.parametrize("faults", [0.25, 0.4])
@pytest.mark.parametrize(
    ("metric", "theirs"),
    [(BLEU("13a", lowercase=False), sacrebleu.BLEU()), (TER(asian=False), sacrebleu.TER())],
)
def test_the_paired_test_is_sacrebleus(metric, theirs, faults: float) -> None:
    (first, golds), (second, _) = draw_system(1, 0.2), draw_system(2, faults)
    systems = [("first", first), ("second", second)]
    _, results = PairedTest(systems, {"it": theirs}, [golds], test_type="bs", n_samples=300)()
    expected = next(scores for name, scores in results.items() if name != "System")
    found = compare_paired(
        metric, rows_of(metric, first, golds), rows_of(metric, second, golds), resamples=300
    )
    name, comparison = next(iter(found.items()))
    assert comparison.p_value == expected[1].p_value
    assert comparison.difference.value == pytest.approx(expected[1].score - expected[0].score, abs=1e-9)
    assert (comparison.p_value < 0.05) == (faults == 0.4), name


def judge(right: np.ndarray) -> np.ndarray:
    return count_each(Accuracy(), [(np.eye(2)[int(ok)], [1]) for ok in right])


def test_the_interval_of_a_mean_is_scipys_and_near_the_normal_one() -> None:
    right = np.random.default_rng(3).random(400) < 0.7
    found = confidence_intervals(Accuracy(), judge(right), level=0.9, resamples=4000)["accuracy"]
    theirs = stats.bootstrap(
        (right.astype(float),), np.mean, confidence_level=0.9, n_resamples=4000, method="percentile", rng=5
    ).confidence_interval
    share = right.mean()
    half = stats.norm.ppf(0.95) * math.sqrt(share * (1 - share) / len(right))
    for low, high in ((theirs.low, theirs.high), (share - half, share + half)):
        assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * half)
    assert found.value == pytest.approx(share, abs=1e-12)


def test_a_difference_of_means_is_as_significant_as_the_paired_normal_test_says() -> None:
    draw = np.random.default_rng(0)
    first = draw.random(500) < 0.70
    second = np.where(draw.random(500) < 0.1, draw.random(500) < 0.9, first)
    gain = second.astype(float) - first
    found = compare_paired(Accuracy(), judge(first), judge(second), resamples=4000)["accuracy"]
    error = gain.std() / math.sqrt(500)
    assert found.difference.value == pytest.approx(gain.mean(), abs=1e-12)
    half = stats.norm.ppf(0.975) * error
    ends = (gain.mean() - half, gain.mean() + half)
    assert (found.difference.low, found.difference.high) == pytest.approx(ends, abs=0.1 * half)
    assert found.wins == pytest.approx(stats.norm.cdf(gain.mean() / error), abs=0.02)


def test_a_system_does_not_differ_from_itself() -> None:
    rows = judge(np.array([True, False, True]))
    found = compare_paired(Accuracy(), rows, rows, resamples=50)["accuracy"]
    assert found.difference == (0.0, 0.0, 0.0)
    assert (found.p_value, found.wins) == (1.0, 0.0)


def test_other_rows_none_and_other_levels_are_refused() -> None:
    rows = judge(np.array([True, False]))
    with pytest.raises(ValueError, match="systems of 2 and 1 rows: compare them on the same rows"):
        compare_paired(Accuracy(), rows, rows[:1])
    with pytest.raises(ValueError, match="there are no rows to draw from"):
        confidence_intervals(Accuracy(), rows[:0])
    with pytest.raises(ValueError, match=r"level=95: a share between 0 and 1"):
        confidence_intervals(Accuracy(), rows, level=95, resamples=2)
