import numpy as np
import pytest

from triad.data.shuffle import count_windows, find_starts, hash_pairs, shuffle_rows

SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 10, 15, 16, 17, 31, 97, 100, 101, 127, 128, 1009, 4096, 65_537]


@pytest.mark.parametrize("windows", SIZES)
@pytest.mark.parametrize("seed", [0, 1, -7, 2**63])
def test_every_epoch_reads_every_window_exactly_once(windows, seed):
    for epoch in (0, 1, 5):
        rows = np.arange(epoch * windows, (epoch + 1) * windows)
        assert np.array_equal(np.sort(shuffle_rows(rows, windows, seed)), np.arange(windows))


def test_the_order_is_the_same_for_ever():
    rows = np.array([0, 1, 2, 9, 10, 11, 10**6, 10**15])
    assert shuffle_rows(rows, 10, 0).tolist() == [5, 1, 0, 7, 9, 5, 9, 8]
    assert shuffle_rows(rows, 10**12, 1234).tolist() == [
        455309556052,
        88628203048,
        389401601198,
        343732338893,
        470688695711,
        666075035960,
        551675693607,
        448644568272,
    ]


def test_a_row_reads_the_same_window_whichever_rows_are_asked_with_it():
    rows = np.arange(950, 1050)
    together = shuffle_rows(rows, 1000, 3)
    assert together.tolist() == [shuffle_rows(np.array([row]), 1000, 3)[0] for row in rows]
    assert np.array_equal(shuffle_rows(rows[::-1], 1000, 3), together[::-1])


def test_epochs_and_seeds_have_orders_of_their_own():
    rows = np.arange(1000)
    orders = [shuffle_rows(rows, 1000, 0), shuffle_rows(rows + 1000, 1000, 0), shuffle_rows(rows, 1000, 1)]
    for i, one in enumerate(orders):
        assert (one == rows).sum() < 10
        for other in orders[:i]:
            assert (one == other).sum() < 10
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.1


def test_the_key_of_an_epoch_is_of_no_other_epoch_or_seed():
    keys = np.concatenate([hash_pairs(seed, np.arange(1000)) for seed in range(-500, 500)])
    assert len(np.unique(keys)) == len(keys)  # where it follows from seed + epoch there are 1,999


def test_the_first_window_of_an_epoch_is_uniform():
    firsts = np.concatenate([shuffle_rows(np.arange(20_000) * 10, 10, seed) for seed in range(5)])
    counts = np.bincount(firsts, minlength=10)
    chi_squared = ((counts - 10_000) ** 2 / 10_000).sum()
    assert chi_squared < 27.9  # 9 degrees of freedom, p = 0.001


def test_all_orders_of_three_windows_are_about_equally_frequent():
    orders = np.stack([shuffle_rows(np.arange(3), 3, seed) for seed in range(3000)])
    counts = np.unique(orders @ [9, 3, 1], return_counts=True)[1]
    assert len(counts) == 6
    assert counts.min() > 400
    assert counts.max() < 600


def test_neighbouring_rows_read_unrelated_windows():
    order = shuffle_rows(np.arange(100_000), 10**12, 0).astype(float)
    assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 0.02
    assert abs(order.mean() / 10**12 - 0.5) < 0.01


def test_a_window_needs_one_token_more_than_the_context():
    assert count_windows(9, 8) == 1
    assert count_windows(16, 8) == 1
    assert count_windows(17, 8) == 2


def test_a_context_longer_than_the_corpus_is_refused_with_both_numbers():
    for n_tokens in (1, 8):
        with pytest.raises(ValueError, match=rf"context=8: longer than the corpus, whose {n_tokens} tokens"):
            count_windows(n_tokens, 8)


def test_a_window_starts_inside_the_corpus_and_each_epoch_cuts_it_at_another_phase():
    n_tokens, context = 1003, 10
    windows = count_windows(n_tokens, context)
    phases = set()
    for epoch in range(40):
        starts = find_starts(np.arange(epoch * windows, (epoch + 1) * windows), n_tokens, context, seed=3)
        assert starts.min() >= 0
        assert starts.max() + context + 1 <= n_tokens
        first, *inner = np.sort(starts)
        phases.add(int(first))
        assert np.diff([first, *inner])[:-1].tolist() == [context] * (windows - 2)
    assert phases == set(range(context))
