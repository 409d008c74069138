"""Penalties, clipping by role, z-loss, muP, checks and averages: the same in every layout, real processes."""

from pathlib import Path

import pytest

from triad.checkpoints.folder import find_checkpoint
from triad.checkpoints.tensors import read_weights
from triad.runs.directory import Run
from triad.runs.metrics import read_metrics
from triad.verify.compare import compare_runs
from triad.verify.matrix import Case, Layout
from triad.verify.runner import prepare_case, train_all, write_corpus

pytestmark = pytest.mark.slow

WORDS = (
    "regularizer=l1 regularizer.strength=1e-3 clip=role clip.largest=0.1 task.z_loss=0.1 task.smoothing=0.1"
    " parametrisation=mup parametrisation.base.width=24 model.initial.head=fan_in"
    " callbacks=[default,record,gradient_check,swa] callbacks.swa.start=0.0 callbacks.swa.every_steps=1"
)
# between them shards, copies, experts, partial gradients and stages
LAYOUTS = [
    Layout("tensor", 2, "strategy=tensor strategy.sequence_parallel=true"),
    Layout("expert", 2, "strategy=expert"),
    Layout("1f1b", 2, "strategy=pipeline"),
]
TOLERANCE = 1e-9


def case(layout: Layout) -> Case:
    changed = Layout(layout.name, layout.ranks, f"{layout.words} {WORDS}")
    return Case(changed, "moe", 3 if layout.ranks > 1 else 1, True, False, False, "fp64")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One run in one process, and one in each layout."""
    folder = tmp_path_factory.mktemp("runs")
    corpus = write_corpus(folder)
    made = {}
    for layout in (Layout("single", 1, "strategy=single"), *LAYOUTS):
        made[layout.name] = prepare_case(case(layout), folder, corpus)[1]
    many = [str(made[layout.name]) for layout in LAYOUTS]
    assert train_all([str(made["single"])], 1) == []
    assert train_all(many, 2) == []
    return made


@pytest.mark.parametrize("layout", [layout.name for layout in LAYOUTS])
def test_gradients_weights_and_figures_are_those_of_one_process(runs: dict[str, Path], layout: str) -> None:
    apart = compare_runs(Run(runs[layout]), Run(runs["single"]), TOLERANCE)
    assert apart.first is None
    ours, theirs = (read_metrics(runs[name] / "metrics.csv") for name in (layout, "single"))
    told = [key for key in theirs[0] if key.startswith(("train/gradient_norm_", "train/update_"))]
    assert len(told) == 2 * 6  # gradient and update of each role
    for one, another in zip(ours, theirs, strict=True):
        for key in ("train/penalty", *told):
            assert one[key] == pytest.approx(another[key], rel=TOLERANCE, abs=1e-12), key


@pytest.mark.parametrize("layout", [layout.name for layout in LAYOUTS])
def test_the_mean_of_weights_is_that_of_one_process(runs: dict[str, Path], layout: str) -> None:
    ours, theirs = (read_weights(find_checkpoint(runs[name]), "swa") for name in (layout, "single"))
    assert ours.keys() == theirs.keys()
    for name, mean in theirs.items():
        assert (ours[name] - mean).abs().max() <= TOLERANCE, name
