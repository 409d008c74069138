"""The running average of the weights: right, in every layout, in the checkpoint, and what is validated."""

from math import factorial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.checkpoints.written import written
from triad.callbacks.ema import Ema
from triad.checkpoints.folder import find_checkpoint, find_validated
from triad.checkpoints.tensors import read_weights
from triad.checkpoints.trained import trained
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
EMA = ("callbacks=[default,ema]", "callbacks.ema.decay=0.5")
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
        decay = (2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15, 7 / 16, 8 / 17, 9 / 18, 0.5, 0.5)[step - 1]
        for name, weight in read_weights(find_checkpoint(run, step)).items():
            by_hand[name] = decay * by_hand[name] + (1 - decay) * weight.double()
    found = read_weights(find_checkpoint(run), "ema")
    assert found.keys() == by_hand.keys()
    for name, average in by_hand.items():
        torch.testing.assert_close(found[name].double(), average, rtol=1e-5, atol=1e-6)

    written(tmp_path / "average", 10, weights=found)
    start = ("weights=average", "optimizer.lr=0.0", "trainer.max_steps=1", "trainer.val_check_interval=1")
    train(*TINY, *STILL, *start, "run_id=b")
    assert last_val_loss(tmp_path / "outputs" / "b") == pytest.approx(last_val_loss(run), rel=1e-5)


def test_a_run_that_begins_to_average_when_it_is_resumed_begins_with_its_weights_and_keeps_fp32(
    train, tmp_path: Path
) -> None:
    run = tmp_path / "outputs" / "a"
    train(*TINY, *STILL, "run_id=a", "precision=bf16-true", "trainer.max_steps=5")
    before = read_weights(find_checkpoint(run))
    assert find_validated(find_checkpoint(run)) == "model"
    train("resume=outputs/a", "callbacks=[default,ema]", "callbacks.ema.decay=0.1", "trainer.max_steps=6")
    after, found = read_weights(find_checkpoint(run)), read_weights(find_checkpoint(run), "ema")
    for name, average in found.items():
        assert (average.dtype, after[name].dtype) == (torch.float32, torch.bfloat16)
        by_hand = 0.1 * before[name].float() + 0.9 * after[name].float()
        torch.testing.assert_close(average, by_hand, rtol=1e-6, atol=1e-7)
    for name, weight in trained(run)[0].state_dict().items():  # what is validated is what is used
        assert torch.equal(weight, found[name])


def averaged(ema: Ema, weights: list[torch.Tensor], task: Any) -> torch.Tensor:
    """The average over some weights, of which the first are those of the start."""
    trainer: Any = None
    for step, weight in enumerate(weights):
        with torch.no_grad():
            task.model.weight.copy_(weight)
        if step:
            ema.on_train_batch_end(trainer, task)
        else:
            ema.on_train_start(trainer, task)
    return ema.weights(task)["weight"]


def test_the_initial_weights_do_not_outlast_a_run_that_is_shorter_than_the_average() -> None:
    task = SimpleNamespace(model=torch.nn.Linear(3, 3, bias=False).double())
    ema = Ema(0.999)
    left = averaged(ema, [torch.ones(3, 3)] + 30 * [torch.zeros(3, 3)], task).mean().item()
    # the product of (1 + k) / (10 + k), k = 1 ... 30; without warm-up 0.97 would be left
    assert left == pytest.approx(factorial(10) * factorial(31) / factorial(40))
    resumed = Ema(0.999)
    resumed.average = ema.average
    resumed.load_state_dict(ema.state_dict())
    trainer: Any = None
    resumed.on_train_batch_end(trainer, task)
    assert resumed.weights(task)["weight"].mean().item() == pytest.approx(left * 32 / 41)
    task.model.weight.data.fill_(1.0)
    assert averaged(Ema(0.5), 12 * [torch.ones(3, 3)] + [torch.zeros(3, 3)], task).mean().item() == 0.5


def test_an_average_of_narrow_weights_moves_by_less_than_they_can_and_no_validation_rounds_it() -> None:
    task = SimpleNamespace(model=torch.nn.Linear(3, 3, bias=False).bfloat16())
    trainer: Any = None
    generator = torch.Generator().manual_seed(0)
    weights = [torch.ones(3, 3).add(torch.rand(3, 3, generator=generator), alpha=0.01) for _ in range(400)]
    ema, by_hand = Ema(0.99), weights[0].bfloat16().double()
    for k, weight in enumerate(weights[1:], 1):
        by_hand += (1 - min(0.99, (1 + k) / (10 + k))) * (weight.bfloat16().double() - by_hand)
    found = averaged(ema, weights, task).clone()
    torch.testing.assert_close(found.double(), by_hand, rtol=1e-6, atol=0)
    ema.on_validation_start(trainer, task)
    assert torch.equal(task.model.weight, found.bfloat16())
    ema.on_validation_end(trainer, task)
    assert torch.equal(task.model.weight, weights[-1].bfloat16())
    assert torch.equal(ema.weights(task)["weight"], found)
