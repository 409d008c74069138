"""shuffle=once: every epoch is as the first one."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.data.test_batches import documents_file
from triad.data.batches import TrainBatches
from triad.data.packing import pack
from triad.data.pairs import TrainPairs
from triad.data.repeated import RepeatedEpoch


@pytest.mark.parametrize("packing", ["windows", "documents", "none"])
def test_an_epoch_that_is_repeated_is_the_first_one_and_others_are_not(tmp_path, packing: str) -> None:
    rows = pack(documents_file(tmp_path, [40, 7, 90, 23, 61, 12, 33]), 10, packing)
    again, epoch = RepeatedEpoch(rows), np.arange(len(rows))
    first = rows.locate(epoch, seed=3)
    assert np.array_equal(again.locate(epoch, 3), first)
    assert np.array_equal(again.locate(epoch + 5 * len(rows), 3), first)
    assert not np.array_equal(rows.locate(epoch + 5 * len(rows), 3), first)
    assert not np.array_equal(again.locate(epoch, 4), first)


def test_batches_of_a_repeated_epoch_run_on_over_its_end(tmp_path) -> None:
    rows = RepeatedEpoch(pack(documents_file(tmp_path, [100, 111]), 10, "windows"))
    assert len(rows) == 21
    batches = TrainBatches(rows, lambda step: 4, lambda step: 4 * step, 0, 0, 0, 1)
    read = [row for step in range(21) for row in batches.batch(step)["tokens_BT"][:, 0].tolist()]
    assert read == 4 * read[:21]
    assert len({*read}) == 21


def test_batches_of_neighbouring_lengths_come_again_in_their_order() -> None:
    lengths = np.random.default_rng(0).integers(1, 50, 30)
    pairs = SimpleNamespace(longest_N=lengths, batch=lambda rows, *places: {"rows": rows.tolist()})
    made = {"__len__": lambda self: 30}
    pairs.__class__ = type("Thirty", (SimpleNamespace,), made)

    def epoch(anew: bool, number: int) -> list[list[int]]:
        order = TrainPairs(pairs, lambda step: 4, 0, 0, 0, 1, anew)
        return [order.batch(step)["rows"] for step in range(7 * number, 7 * number + 7)]

    assert epoch(False, 3) == epoch(False, 0) == epoch(True, 0) != epoch(True, 3)
