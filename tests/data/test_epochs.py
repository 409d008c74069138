"""The steps of so many epochs read each row so often, whatever the rows are."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.test_batches import documents_file
from triad.data.documents import ContinuedFile
from triad.data.packing import pack
from triad.data.pairs import PaddedBatches
from triad.data.windows import Windows
from triad.schedules.batch_size import Rule, fixed, full, tokens

LENGTHS = [40, 7, 90, 23, 61, 12, 33, 18, 55, 70]


def count_reads(places: np.ndarray) -> set[int]:
    """How often each of the rows that are read is."""
    return {*np.unique(places, return_counts=True)[1].tolist()}


@pytest.mark.parametrize("packing", ["windows", "documents", "best_fit", "none"])
@pytest.mark.parametrize("epochs", [1, 3])
def test_the_steps_of_epochs_read_each_row_so_often(tmp_path: Path, packing: str, epochs: int) -> None:
    rows = pack(documents_file(tmp_path, LENGTHS), 10, packing, "repeat")
    data = Windows(rows, rows, fixed(4, "none", None), seed=3)
    found = data.count_steps(epochs)
    assert found["rows"] == len(rows)
    read = rows.locate(np.arange(data.first_row(found["steps"])), 3)
    assert len({*read.tolist()}) == len(rows)
    left = len(read) - epochs * len(rows)  # of the last step, from the next epoch
    assert 0 <= left < 4
    assert count_reads(read[: len(read) - left]) == {epochs}


@pytest.mark.parametrize("rule", [fixed(2, "none", None), tokens(40)], ids=["rows", "tokens"])
def test_the_steps_of_epochs_read_each_padded_row_so_often(tmp_path: Path, rule: Rule) -> None:
    rows = ContinuedFile(documents_file(tmp_path, LENGTHS), 10, separator=1)
    data = PaddedBatches(rows, rows, 10, rule, seed=3)
    steps = data.count_steps(2)["steps"]
    read = np.concatenate([data.buckets.find_rows(step, 3) for step in range(steps)])
    real = np.flatnonzero(rows.find_lengths(np.arange(len(rows))))
    assert data.count_steps(2)["rows"] == len(real)
    if rule.tokens:
        assert sorted(read.tolist()) == sorted([*real.tolist()] * 2)
    else:
        assert len(read) == 2 * (len(real) // 2) * 2  # a remainder that fills no batch is left out
        assert count_reads(read) <= {1, 2}
    assert data.first_row(steps) >= len(read)


@pytest.mark.parametrize(("epochs", "steps"), [(0.7, 7), (0.71, 8), (1, 10), (2.5, 25), (0.01, 1)])
def test_a_part_of_an_epoch_is_rounded_up_to_a_step(epochs: float, steps: int) -> None:
    assert fixed(4, "none", None).count_steps(epochs, 40) == steps


def test_an_epoch_of_gradient_descent_is_a_step() -> None:
    assert full(None, "none", None).of(40).count_steps(3, 40) == 3
    assert full(8, "none", None).of(40).count_steps(3, 40) == 3
