"""The running average of the weights: right, in every layout, in the checkpoint, and what is validated."""

from pathlib import Path

import pytest
import torch

from tests.checkpoints.written import written
from triad.checkpoints.folder import find_checkpoint
from triad.checkpoints.tensors import read_weights
from triad.config.build import build
from triad.optim.initialise import initialise
from triad.runs.directory import Run
from triad.runs.metrics import read_metrics

TINY = (
    "debug=tiny",
    "precision=fp32",
    "hardware.attention=flash",
    "trainer.accelerator=cpu",
    "model.depth=4",
)
STILL = ("scheduler=constant", "scheduler.warmup=0")
EMA = ("callbacks=[default,ema]", "callbacks.ema.decay=0.7")
KEPT = ("callbacks.checkpoint.every_steps=1", "callbacks.checkpoint.keep=99")


def last_val_loss(run: Path) -> float:
    return [row["val/loss"] for row in read_metrics(run / "metrics.csv") if "val/loss" in row][-1]


def first_weights(run: Path) -> dict[str, torch.Tensor]:
    """What a run starts from."""
    config = Run(run).config()
    model = build(config["model"])(vocab_size=257)
    initialise(model, config["seed"])
    return model.state_dict()


@pytest.mark.slow
def test_it_is_the_average_by_hand_over_moves_through_layouts_and_it_is_what_is_validated(
    train, tmp_path: Path
) -> None:
    pytest.importorskip("deepspeed")
    run = tmp_path / "outputs" / "a"
    train(*TINY, *STILL, *EMA, *KEPT, "run_id=a", "strategy=fsdp", "trainer.devices=2", "trainer.max_steps=3")
    train("resume=outputs/a", "strategy=pipeline", "trainer.max_steps=5")
    train("resume=outputs/a", "strategy=tensor", "trainer.max_steps=8")
    train("resume=outputs/a", "strategy=deepspeed", "strategy.stage=2", "trainer.max_steps=10")
    by_hand = {name: weight.double() for name, weight in first_weights(run).items()}
    for step in range(1, 11):
        for name, weight in read_weights(find_checkpoint(run, step)).items():
            by_hand[name] = 0.7 * by_hand[name] + 0.3 * weight.double()
    found = read_weights(find_checkpoint(run), "ema")
    assert found.keys() == by_hand.keys()
    for name, average in by_hand.items():
        torch.testing.assert_close(found[name].double(), average, rtol=1e-5, atol=1e-6)

    written(tmp_path / "average", 10, weights=found)
    start = ("weights=average", "optimizer.lr=0.0", "trainer.max_steps=1", "trainer.val_check_interval=1")
    train(*TINY, *STILL, *start, "run_id=b")
    assert last_val_loss(tmp_path / "outputs" / "b") == pytest.approx(last_val_loss(run), rel=1e-5)


def test_a_run_that_begins_to_average_when_it_is_resumed_begins_with_its_weights(
    train, tmp_path: Path
) -> None:
    train(*TINY, *STILL, "run_id=a", "trainer.max_steps=5")
    path = find_checkpoint(tmp_path / "outputs" / "a")
    before = read_weights(path)
    train("resume=outputs/a", "callbacks=[default,ema]", "callbacks.ema.decay=0.5", "trainer.max_steps=6")
    after, found = (
        read_weights(find_checkpoint(tmp_path / "outputs" / "a")),
        read_weights(find_checkpoint(tmp_path / "outputs" / "a"), "ema"),
    )
    for name, average in found.items():
        torch.testing.assert_close(average, 0.5 * (before[name] + after[name]), rtol=1e-5, atol=1e-6)
