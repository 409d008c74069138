"""What is reported of a step."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from triad.callbacks.metrics import Metrics, describe_loads


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


def test_a_validation_of_any_task_is_shown_and_logged_with_the_figures_of_other_callbacks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logged: list[tuple[dict, int]] = []
    trainer: Any = SimpleNamespace(
        callbacks=[Callback(), object()],
        callback_metrics={"val/rouge": torch.tensor(0.25), "val/f1": torch.tensor(0.5), "other": 1.0},
        loggers=[SimpleNamespace(log_metrics=lambda metrics, step: logged.append((metrics, step)))],
        is_global_zero=True,
        global_step=4,
        max_steps=8,
    )
    metrics = Metrics(every_steps=1)
    metrics.on_validation_start(trainer, None)
    metrics.on_validation_end(trainer, None)
    assert logged == [({"val/rouge": 0.25, "val/f1": 0.5, "perf/energy_joules": 3.0}, 4)]
    assert capsys.readouterr().out == "step 4/8  val rouge 0.25  f1 0.5\n"
