"""The matrix turns red on each of eight historical bugs."""

import sys
from pathlib import Path

import pytest

from tests.warm import WarmProcess
from triad.launch.supervisor import launch
from triad.runs.directory import Run
from triad.verify.compare import Deviation, compare_runs
from triad.verify.matrix import LAYOUTS, SMALL, Case
from triad.verify.runner import TOLERANCE, prepare_case, run_cases, write_corpus

SCRIPT = Path(__file__).with_name("mutants.py")
FSDP = next(layout for layout in LAYOUTS if layout.name == "fsdp")
CASE = Case(FSDP, "moe", 3, packed=False, checkpointing=True, compile=False, precision="fp64")
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
        return warm.call(train_mutants, tmp_path_factory.mktemp("mutants"))


def train_mutants(folder: Path) -> dict[str, Deviation]:
    """Each bug's run against one unbroken process; one launch for them all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("triad.verify.runner.SMALL", WIDE)
        assert not run_cases([CASE], folder)[0].wrong  # unbroken, the same case is green
        runs = [prepare_case(CASE, folder / bug, write_corpus(folder))[1] for bug in BUGS]
        assert launch([sys.executable, str(SCRIPT), *map(str, runs)], FSDP.ranks, threads=1) == 0
    reference = Run(folder / CASE.reference.name)
    return {run.parent.name: compare_runs(Run(run), reference, TOLERANCE["fp64"]) for run in runs}


@pytest.mark.parametrize("bug", BUGS)
def test_the_matrix_turns_red_on(differences: dict[str, Deviation], bug: str) -> None:
    assert differences[bug].first is not None
    assert differences[bug].worst[BUGS[bug]] > 1e-4
