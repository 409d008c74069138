"""The hardware axis never changes the mathematics: real processes over gloo against one process."""

import sys
from pathlib import Path

import pytest

from triad.door import compose, prepare
from triad.launch import launch
from triad.loggers.csv import read

HERE = Path(__file__).parent
STEPS = 8
ROWS = 10  # 2 and 3 micro-batches do not divide it, nor half of it: the last one is smaller
# What fp32 leaves of equality when sums are taken in another order: losses are means, a norm is the root of a
# sum of 10^5 squares. Breaking a law moves them by 1e-3 and more.
TOLERANCE = {"train/loss": 2e-6, "train/auxiliary": 2e-6, "train/gradient_norm": 1e-5, "val/loss": 2e-6}

COMMON = (
    "debug=tiny",
    f"trainer.max_steps={STEPS}",
    "trainer.val_check_interval=4",
    "trainer.accelerator=cpu",
    "precision=fp32",
    "hardware.attention=flash",
    f"batch.size={ROWS}",
    "model.width=48",
    "optimizer.lr=1e-2",
    "scheduler=constant",
)
MODELS = {"decoder": ["model=decoder"], "moe": ["model=moe"], "lstm": ["model=lstm"]}

Curves = dict[str, list[dict[str, float]]]


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Curves:
    """Train every model in every layout with 1, 2 and 3 micro-batches; one launch for each world size."""
    folder = tmp_path_factory.mktemp("layouts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIAD_CACHE", str(cache))
        patch.setenv("OMP_NUM_THREADS", "1")
        for ranks, strategies in ((1, ["single"]), (2, ["ddp", "fsdp"])):
            names = [
                _written(folder, model, strategy, ranks, parts)
                for model in MODELS
                for strategy in strategies
                for parts in (1, 2, 3)
            ]
            command = [sys.executable, str(HERE / "train_many.py"), *names]
            assert launch(command, ranks, threads=1) == 0
    return {path.name: read(path / "metrics.csv") for path in folder.iterdir()}


def _written(folder: Path, model: str, strategy: str, ranks: int, parts: int) -> str:
    """A prepared run directory whose processes walk `parts` micro-batches a step, the last one partial."""
    rows = -(-ROWS // ranks // parts)
    words = [
        *COMMON,
        *MODELS[model],
        f"strategy={strategy}",
        f"trainer.devices={ranks}",
        f"hardware.micro_batch_size={rows}",
        f"run_id={model}-{strategy}-{parts}",
        f"output_dir={folder}",
    ]
    return str(prepare(compose(words), words))


def values(rows: list[dict[str, float]], key: str) -> list[float]:
    return [row[key] for row in rows if key in row]


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("model", MODELS)
def test_two_processes_and_any_micro_batches_equal_one_process(
    curves: Curves, model: str, strategy: str, parts: int
) -> None:
    one, two = curves[f"{model}-single-1"], curves[f"{model}-{strategy}-{parts}"]
    assert len(values(two, "train/loss")) == STEPS
    for key, tolerance in TOLERANCE.items():
        assert values(two, key) == pytest.approx(values(one, key), rel=tolerance, abs=tolerance), key


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize("model", MODELS)
def test_micro_batches_do_not_change_one_process(curves: Curves, model: str, parts: int) -> None:
    one, split = curves[f"{model}-single-1"], curves[f"{model}-single-{parts}"]
    for key, tolerance in TOLERANCE.items():
        assert values(split, key) == pytest.approx(values(one, key), rel=tolerance, abs=tolerance), key


def test_the_models_do_learn_so_that_the_comparison_has_power(curves: Curves) -> None:
    for model in MODELS:
        losses = values(curves[f"{model}-single-1"], "train/loss")
        assert losses[-1] < losses[0] - 0.5
    auxiliary = values(curves["moe-single-1"], "train/auxiliary")
    assert min(auxiliary) > 1e-4
