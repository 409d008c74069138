"""Orders of an epoch: of its own, that of the first, or all as in the first."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.data.test_batches import documents_file
from triad.data.batches import TrainBatches
from triad.data.packing import pack
from triad.data.pairs import TrainPairs

SHUFFLES = ("every_epoch", "once", "repeat")
LENGTHS = [40, 7, 90, 23, 61, 12, 33]


@pytest.mark.parametrize("packing", ["windows", "documents", "best_fit", "none"])
def test_an_epoch_that_is_repeated_is_the_first_one_and_others_are_not(tmp_path, packing: str) -> None:
    tokens = documents_file(tmp_path, LENGTHS)
    anew, once, repeat = (pack(tokens, 10, packing, shuffle) for shuffle in SHUFFLES)
    epoch = np.arange(len(anew))
    later, first = epoch + 5 * len(anew), anew.locate(epoch, seed=3)
    assert np.array_equal(once.locate(epoch, 3), first)
    assert np.array_equal(repeat.locate(epoch, 3), first)
    assert np.array_equal(repeat.locate(later, 3), first)
    assert not np.array_equal(anew.locate(later, 3), first)
    assert not np.array_equal(repeat.locate(epoch, 4), first)
    # which cuts every epoch at the same places
    assert np.array_equal(once.locate(later, 3), first) == (packing in ("best_fit", "none"))


def test_windows_that_are_shuffled_once_are_cut_anew_and_keep_their_order(tmp_path) -> None:
    tokens = documents_file(tmp_path, LENGTHS)
    anew, once, _ = (pack(tokens, 10, "windows", shuffle) for shuffle in SHUFFLES)
    epoch = np.arange(len(anew))
    for later in (epoch + number * len(anew) for number in (1, 2, 7)):
        assert np.array_equal(once.locate(later, 3) // 10, anew.locate(epoch, 3) // 10)
        assert np.array_equal(np.sort(once.locate(later, 3)), np.sort(anew.locate(later, 3)))
        assert not np.array_equal(once.locate(later, 3), anew.locate(later, 3))
    assert len({int(once.locate(epoch + number * len(anew), 3).min()) for number in range(5)}) > 1


def test_batches_of_a_repeated_epoch_run_on_over_its_end(tmp_path) -> None:
    rows = pack(documents_file(tmp_path, [100, 111]), 10, "windows", "repeat")
    assert len(rows) == 21
    batches = TrainBatches(rows, lambda step: 4, lambda step: 4 * step, 0, 0, 0, 1)
    read = [row for step in range(21) for row in batches.batch(step)["tokens_BT"][:, 0].tolist()]
    assert read == 4 * read[:21]
    assert len({*read}) == 21


class Numbers(SimpleNamespace):
    """Rows of the given lengths, read as their numbers."""

    def __len__(self) -> int:
        return len(self.longest_N)

    def batch(self, rows_R: np.ndarray, rank: int, ranks: int) -> dict:
        return {"rows": rows_R.tolist()}


def test_batches_of_neighbouring_lengths_come_again_in_their_order() -> None:
    pairs = Numbers(longest_N=np.random.default_rng(0).permutation(100)[:31] * 10)

    def read(shuffle: str, epoch: int) -> list[list[int]]:
        order = TrainPairs(pairs, lambda step: 4, 0, 0, 0, 1, shuffle)
        return [order.batch(step)["rows"] for step in range(7 * epoch, 7 * epoch + 7)]

    first = read("every_epoch", 0)
    assert read("repeat", 3) == read("repeat", 0) == read("once", 0) == first
    assert read("every_epoch", 3) != first
    assert read("once", 4) == first
    moved = read("once", 3)  # by the three pairs that are left out elsewhere
    assert [len({*one} & {*other}) for one, other in zip(moved, first, strict=True)] == [1] * 7
