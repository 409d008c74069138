"""A model and its tokenizer out of a run."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from triad.checkpoints.folder import find_checkpoint
from triad.checkpoints.tensors import load_model
from triad.config.build import build
from triad.data.tokenizers import Tokenizer, load_tokenizer
from triad.runs.directory import Run


def trained(
    run: Run | Path | str,
    step: int | None = None,
    weights: str = "model",
    device: torch.device | str = "cpu",
) -> tuple[Any, Tokenizer]:
    """The model of a run, ready to be evaluated, and its tokenizer.

    Its weights are those of the newest whole checkpoint, or of a `step`; `weights` is model, or ema or swa
    where one was kept. Raises FileNotFoundError or ValueError where there is none.
    """
    run = run if isinstance(run, Run) else Run(run)
    config, checkpoint = run.config(), find_checkpoint(run.path, step)
    tokenizer = load_tokenizer(run.tokenizer)
    model: nn.Module = build(config["model"])(vocab_size=tokenizer.vocab_size).eval()
    load_model(checkpoint, model, weights)
    return model.to(device), tokenizer
