"""The matrix turns red on each of eight historical bugs."""

from pathlib import Path

import pytest

from tests.verify.mutants import train_mutants
from tests.warm import WarmProcess
from triad.verify.compare import Deviation
from triad.verify.matrix import LAYOUTS, SMALL, Case

FSDP = next(layout for layout in LAYOUTS if layout.name == "fsdp")
CASE = Case(FSDP, "moe", 3, packing="none", checkpointing=True, compile=False, precision="fp64")
WIDE = (*SMALL, "model.feedforward.hidden=256")  # experts that learn enough for every bug to stand out
# the bug, and the kind of figure that must show it
BUGS = {
    "auxiliary_loss_divided_by_the_data_parallel_size": "auxiliary",
    "auxiliary_coefficient_ignored_under_accumulation": "auxiliary",
    "mean_of_the_means_of_micro_batches": "loss",
    "norm_of_a_shard_taken_for_the_whole": "norm",
    "last_partial_micro_batch_dropped": "loss",
    "initial_weights_that_differ_between_processes": "loss",
    "validation_rows_counted_twice": "val",
    "loss_counted_twice_under_recomputation": "auxiliary",
}


@pytest.fixture(scope="module")
def differences(
    tmp_path_factory: pytest.TempPathFactory, cache: Path, warm: WarmProcess
) -> dict[str, Deviation]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIAD_CACHE", str(cache))
        return warm.call(train_mutants, [*BUGS], CASE, WIDE, tmp_path_factory.mktemp("mutants"))


@pytest.mark.parametrize("bug", BUGS)
def test_the_matrix_turns_red_on(differences: dict[str, Deviation], bug: str) -> None:
    assert differences[bug].first is not None
    assert differences[bug].worst[BUGS[bug]] > 1e-4
