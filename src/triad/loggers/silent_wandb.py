"""Weights & Biases without its own terminal output."""

import importlib
import os
from typing import Any


def wandb() -> Any:
    """The library, with its terminal output off."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else one DNS request even offline
    library: Any = importlib.import_module("wandb")
    library.setup(library.Settings(silent=True))
    return library
