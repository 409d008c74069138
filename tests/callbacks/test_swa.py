"""The mean of weights from the end of a run: the mean by hand, resumed bit for bit, and what is validated."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from triad.callbacks.swa import Swa
from triad.checkpoints.folder import find_checkpoint
from triad.checkpoints.tensors import read_weights
from triad.runs.metrics import read_metrics


def stepped(swa: Swa, task: Any, steps: range, seen: list[torch.Tensor]) -> None:
    trainer: Any = SimpleNamespace(max_steps=12)
    swa.on_train_start(trainer, task)
    for step in steps:
        torch.manual_seed(step)
        with torch.no_grad():
            task.model.weight.copy_(torch.randn(3, 3))
        trainer.global_step = step + 1
        swa.on_train_batch_end(trainer, task)
        if step + 1 > 6 and (step + 1) % 2 == 0:
            seen.append(task.model.weight.detach().double().clone())


def test_it_is_the_mean_of_every_second_weight_of_the_second_half() -> None:
    task, seen = SimpleNamespace(model=torch.nn.Linear(3, 3)), []
    swa = Swa(start=0.5, every_steps=2)
    stepped(swa, task, range(6), seen)
    assert torch.equal(swa.weights(task)["weight"], task.model.weight)  # until it begins
    stepped(swa, task, range(6, 12), seen)
    assert len(seen) == swa.averaged == 3
    torch.testing.assert_close(swa.weights(task)["weight"].double(), torch.stack(seen).mean(0))


def test_what_is_validated_is_the_mean_and_the_weights_come_back() -> None:
    task = SimpleNamespace(model=torch.nn.Linear(3, 3))
    swa = Swa(start=0.0, every_steps=1)
    stepped(swa, task, range(4), [])
    mean, weight = swa.weights(task)["weight"].clone(), task.model.weight.clone()
    trainer: Any = None
    swa.on_validation_start(trainer, task)
    assert torch.equal(task.model.weight, mean)
    swa.on_validation_end(trainer, task)
    assert torch.equal(task.model.weight, weight)
    assert torch.equal(swa.weights(task)["weight"], mean)


def test_the_mean_of_narrow_weights_is_not_rounded_to_theirs() -> None:
    task, seen = SimpleNamespace(model=torch.nn.Linear(3, 3).bfloat16()), []
    swa = Swa(start=0.5, every_steps=2)
    stepped(swa, task, range(12), seen)
    trainer: Any = None
    swa.on_validation_start(trainer, task)
    swa.on_validation_end(trainer, task)
    torch.testing.assert_close(swa.weights(task)["weight"].double(), torch.stack(seen).mean(0))


@pytest.mark.parametrize(("start", "every"), [(1.0, 1), (-0.1, 1), (0.5, 0)])
def test_a_fraction_and_a_number_of_steps_are_asked_for(start: float, every: int) -> None:
    with pytest.raises(ValueError, match=r"callbacks.swa: start="):
        Swa(start, every)


@pytest.mark.slow
def test_a_resumed_run_has_the_same_mean_bit_for_bit_and_it_is_validated(train, tmp_path: Path) -> None:
    words = ("debug=tiny", "trainer.accelerator=cpu", "precision=fp32", "strategy=fsdp", "trainer.devices=2")
    words += (
        "scheduler=constant",
        "scheduler.warmup=0",
        "callbacks=[default,swa]",
        "callbacks.swa.start=0.2",
    )
    words += ("callbacks.swa.every_steps=1", "trainer.val_check_interval=2", "hardware.attention=flash")
    kept = ("callbacks.checkpoint.every_steps=1", "callbacks.checkpoint.keep=99")
    train(*words, *kept, "run_id=a")
    whole = tmp_path / "outputs" / "a"
    final = read_weights(find_checkpoint(whole), "swa")
    by_hand = {name: torch.zeros_like(mean, dtype=torch.float64) for name, mean in final.items()}
    for step in range(3, 11):
        for name, weight in read_weights(find_checkpoint(whole, step)).items():
            by_hand[name] += weight.double() / 8
    for name, mean in final.items():
        torch.testing.assert_close(mean.double(), by_hand[name], rtol=1e-5, atol=1e-6)
    validated = [row["val/loss"] for row in read_metrics(whole / "metrics.csv") if "val/loss" in row]
    for step in range(7, 11):
        (whole / "checkpoints" / f"step-{step:08d}").rename(tmp_path / f"{step}")
    train("resume=outputs/a")
    resumed = read_weights(find_checkpoint(whole), "swa")
    for name, mean in final.items():
        assert torch.equal(resumed[name], mean), name
    again = [row["val/loss"] for row in read_metrics(whole / "metrics.csv") if "val/loss" in row]
    assert again == validated
