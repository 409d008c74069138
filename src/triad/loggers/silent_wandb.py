"""Weights & Biases without a word of its own on the screen."""

import importlib
import os
from typing import Any


def wandb() -> Any:
    """The library, told to be silent."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else one DNS request even offline
    library: Any = importlib.import_module("wandb")
    library.setup(library.Settings(silent=True))
    return library
