"""Triad from Python, in a script or a notebook.

compose(["model=moe"])                      a checked configuration, as plain Python
run = train(["model=moe", "debug=tiny"])    train, print what train.py prints, and return the run
model, tokenizer = load(run)                the best model of a run; model.generate("def ")
model("gpt2", vocab_size=50257)             a model of conf/model, with initial weights
"""

from importlib import import_module
from typing import Any

OFFERS = {
    "compose": "triad.config.compose.compose",
    "train": "triad.api.train.train",
    "load": "triad.api.load.load",
    "model": "triad.api.model.model",
}


def __dir__() -> list[str]:
    """What Tab completes, in a notebook."""
    return [*OFFERS]


def __getattr__(name: str) -> Any:
    """One of the functions of OFFERS, imported when it is first asked for: torch and hydra take seconds."""
    if name not in OFFERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, function = OFFERS[name].rpartition(".")
    return getattr(import_module(module), function)
