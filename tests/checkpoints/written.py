"""Small checkpoints, written as a run writes them."""

from pathlib import Path
from typing import Any

import torch

from triad.checkpoints.folder import checkpoint_path
from triad.checkpoints.saving import Saver

SINGLE = {"strategy": {"_target_": "triad.strategies.single.Single"}, "processes": 1}


def said(
    step: int,
    metric: float | None = None,
    better: str = "lower",
    name: str = "val/loss",
    validated: str = "model",
) -> dict[str, Any]:
    """The facts of a checkpoint of nothing in particular."""
    return {
        "step": step,
        "metric": None if metric is None else {"name": name, "value": metric, "better": better},
        "validated": validated,
        "position": {"rows": 4 * step},
        "random": {"seed": 0, "step": step},
        "layout": SINGLE,
        "callbacks": {},
        "config": {"seed": 0},
    }


def written(
    run: Path,
    step: int,
    metric: float | None = None,
    weights: dict | None = None,
    keep: int = 99,
    better: str = "lower",
    name: str = "val/loss",
    validated: str = "model",
    **sets: dict,
) -> Path:
    """Write a checkpoint of a run and return its folder."""
    model = {"a": torch.full((30, 20), float(step)), "b.weight": torch.full((4,), -float(step))}
    path = checkpoint_path(run / "checkpoints", step)
    saver = Saver(keep)
    tensors = {"model": weights or model, "optimizer": {"state.a.step": torch.tensor(float(step))}, **sets}
    saver.save(path, lambda: tensors, said(step, metric, better, name, validated))
    saver.wait()
    assert not saver.failures
    return path
