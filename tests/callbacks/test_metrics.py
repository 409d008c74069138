"""What is reported of a step."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from triad.callbacks import metrics as reported
from triad.callbacks.metrics import Metrics, describe_loads
from triad.models.count import Cost, Count


def test_each_expert_of_each_layer_is_reported_over_the_mean_of_its_layer() -> None:
    assert describe_loads(torch.tensor([[6.0, 2.0], [1.0, 0.0]])) == {
        "train/load_max": 2.0,
        "train/load/0/0": 1.5,
        "train/load/0/1": 0.5,
        "train/load/1/0": 2.0,
        "train/load/1/1": 0.0,
    }


class Callback:
    """One that has figures to report."""

    def figures(self, trainer: Any) -> dict[str, float]:
        return {"perf/energy_joules": 3.0}


def test_a_validation_of_any_task_is_logged_and_shown_with_the_figures_of_other_callbacks() -> None:
    reports: list[tuple[dict, int]] = []
    seen: list[tuple[Any, dict]] = []
    trainer: Any = SimpleNamespace(
        callbacks=[
            Callback(),
            SimpleNamespace(show=lambda trainer, metrics: seen.append((trainer, metrics))),
        ],
        callback_metrics={"val/rouge": torch.tensor(0.25), "val/f1": torch.tensor(0.5), "other": 1.0},
        loggers=[SimpleNamespace(log_metrics=lambda metrics, step: reports.append((metrics, step)))],
        is_global_zero=True,
        global_step=4,
        max_steps=8,
    )
    metrics = Metrics(every_steps=1)
    metrics.on_validation_start(trainer, None)
    metrics.on_validation_end(trainer, None)
    expected = {"val/rouge": 0.25, "val/f1": 0.5, "perf/energy_joules": 3.0}
    assert reports == [(expected, 4)]
    assert seen == [(trainer, expected)]


def step(metrics: Metrics, trainer: Any, training: Any, *lengths: torch.Tensor, count: int) -> None:
    outputs = {"shares": {"train/loss": torch.tensor(1.5)}, "figures": {}, "load_LE": torch.zeros(0)}
    trainer.global_step += 1
    batch = {"count": count, "rows": len(lengths[0])}
    metrics.on_train_batch_end(trainer, training, outputs | {"lengths": lengths}, batch)


def make_trainer() -> Any:
    strategy = SimpleNamespace(all_reduce=lambda share: share, root_device=torch.device("cuda", 0))
    made = SimpleNamespace(callbacks=[], callback_metrics={}, is_global_zero=True, world_size=2, logged=[])
    made.strategy, made.global_step, made.max_steps, made.precision = strategy, 0, 6, "bf16-mixed"
    made.loggers = [SimpleNamespace(log_metrics=lambda metrics, step: made.logged.append(metrics))]
    return made


@pytest.fixture
def training() -> Any:
    """Of a model with 10 parameters, 8 of which are in matrices, and 100 FLOPs for each pair of tokens."""
    mixing = [Cost("tokens", lambda rows: 100 * rows.count_past())]
    cost = Count(10, 10, {"tokens": 10}, {"tokens": 8}, mixing, special=[])
    return SimpleNamespace(count=cost, code_length=lambda nats: {}, hardware=SimpleNamespace(fp8=False))


def test_speed_and_mfu_are_those_of_real_tokens_in_the_time_of_training(
    training: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps of 4 s between which a validation takes 100 s; 2 devices of 1e3 FLOP/s in bf16."""
    clock = SimpleNamespace(now_s=50.0)
    monkeypatch.setattr(reported, "time", SimpleNamespace(perf_counter=lambda: clock.now_s))
    peaks = {"bf16-mixed": 1e3, "fp8": 2e3}
    monkeypatch.setattr(reported, "peak_flops", lambda device, precision: peaks[precision])
    trainer, metrics = make_trainer(), Metrics(every_steps=2)
    metrics.on_train_start(trainer, training)
    clock.now_s += 4
    step(metrics, trainer, training, torch.tensor([3, 1]), count=4)
    metrics.on_validation_start(trainer, training)
    clock.now_s += 100
    metrics.on_validation_end(trainer, training)
    clock.now_s += 4
    step(metrics, trainer, training, torch.tensor([2, 2]), count=4)
    found = trainer.logged[-1]
    assert found["perf/tokens_per_s"] == 8 / 8
    assert found["perf/train_s"] == 8
    six_n, palm = 6 * 10 * 8, 6 * 10 * 8 + 100 * (9 + 1 + 4 + 4)
    exact = 6 * 8 * 8 + 100 * (6 + 1 + 3 + 3)
    assert found["train/flops"] == exact
    assert found["perf/mfu_6n"] == pytest.approx(six_n / (8 * 2 * 1e3))
    assert found["perf/mfu_palm"] == pytest.approx(palm / (8 * 2 * 1e3))
    assert found["perf/mfu"] == pytest.approx(exact / (8 * 2 * 1e3))
    # the next report starts anew, in another precision; FLOPs of the run go on
    training.hardware.fp8 = True
    clock.now_s += 1
    for _ in range(2):
        step(metrics, trainer, training, torch.tensor([1]), count=1)
    found = trainer.logged[-1]
    assert found["perf/tokens_per_s"] == 2
    assert found["perf/mfu"] == pytest.approx(2 * (6 * 8 + 100) / (1 * 2 * 2e3))
    assert found["train/flops"] == exact + 2 * (6 * 8 + 100)


def test_a_checkpoint_between_reports_holds_the_flops_of_every_step(training: Any) -> None:
    trainer, metrics = make_trainer(), Metrics(every_steps=6)
    metrics.on_train_start(trainer, training)
    step(metrics, trainer, training, torch.tensor([3, 1]), count=4)
    resumed = Metrics(every_steps=6)
    resumed.load_state_dict(metrics.state_dict())
    assert resumed.exact_flops == 6 * 8 * 4 + 100 * (6 + 1)
    assert metrics.state_dict() == resumed.state_dict()
