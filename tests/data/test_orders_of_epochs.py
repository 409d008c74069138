"""Orders of an epoch: of its own, that of the first, or all as in the first."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.test_batches import documents_file
from triad.data.batches import TrainBatches
from triad.data.length_buckets import LengthBuckets, Unit
from triad.data.packing import pack

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


class Numbers:
    """Rows of some lengths."""

    called = "rows"

    def __init__(self, folder: Path) -> None:
        self.folder, self.lengths = folder, np.random.default_rng(0).integers(1, 99, 131)

    def __len__(self) -> int:
        return len(self.lengths)

    def find_lengths(self, rows_R: np.ndarray) -> np.ndarray:
        return self.lengths[rows_R]

    def batch(self, rows_R: np.ndarray, rank: int, ranks: int) -> dict:
        return {"rows": rows_R}


@pytest.mark.parametrize(("size", "unit"), [(4, "rows"), (400, "tokens")])
def test_batches_of_like_lengths_come_again_in_their_order(tmp_path, size: int, unit: Unit) -> None:
    rows = Numbers(tmp_path / "order")
    anew, again = (LengthBuckets(rows, size, unit, which) for which in (True, False))

    def read(buckets: LengthBuckets, epoch: int) -> list[list[int]]:
        steps = np.arange(len(buckets)) + epoch * len(buckets)
        found = [buckets.find_rows(step, 3).tolist() for step in steps.tolist()]
        assert [len(batch) for batch in found] == buckets.count_rows(steps, 3).tolist()
        return found

    first = read(anew, 0)
    assert read(again, 0) == read(again, 3) == first
    assert read(anew, 3) != first
