"""Triad from Python: `compose(["model=moe"])`, `train(["model=moe"])`, `load("outputs/<run_id>")`."""

from importlib import import_module
from typing import Any

OFFERS = {
    "compose": "triad.config.compose.compose",
    "train": "triad.launch.from_python.train",
    "load": "triad.checkpoints.trained.trained",
}


def __getattr__(name: str) -> Any:
    """One of the functions of OFFERS, imported when it is first asked for: torch and hydra take seconds."""
    if name not in OFFERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, function = OFFERS[name].rpartition(".")
    return getattr(import_module(module), function)
