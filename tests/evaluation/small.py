"""A system small enough for a test: an untrained model over letters."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from triad.config.build import build
from triad.config.compose import compose
from triad.data.tokenizers.char import Char
from triad.evaluation.system import System
from triad.hardware.place import find_place
from triad.optim.initialise import initialise
from triad.runs.directory import Run

LETTERS = "abcd "
SMALL = ("model.width=32", "model.depth=2", "model.attention.heads=2")


def make_system(context: int, task: Any = None, **metrics: Any) -> System:
    """A decoder whose weights are large enough that its predictions differ."""
    tokenizer = Char(LETTERS)
    tokenizer.pieces, tokenizer.separator = [*tokenizer.pieces, b""], len(LETTERS)
    model = build(compose([*SMALL, f"context={context}"])["model"])(vocab_size=tokenizer.vocab_size)
    initialise(model, seed=0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    task = task or SimpleNamespace(continues_text=True, predicts="its tokens")
    config = {"context": context, "task": {}}
    rest = tokenizer, 0, "model", find_place("cpu", "32-true")
    return System(Run(Path("small")), config, task, metrics, model.eval(), *rest)
