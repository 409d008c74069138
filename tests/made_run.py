"""A run that nothing trained: of its configuration, its vocabulary and random weights."""

from pathlib import Path

import torch

from tests.checkpoints.written import written
from triad.checkpoints.trained import OF_TASK, count_rows, make_task
from triad.config.build import build
from triad.config.compose import compose
from triad.data.tokenizers.byte import Byte
from triad.data.tokenizers.tokenizer import Tokenizer
from triad.runs.directory import Run
from triad.runs.start import prepare_run

WORDS = ("debug=tiny", "model.width=48", "precision=fp32", "trainer.accelerator=cpu")


def make_run(
    path: Path,
    *words: str,
    tokenizer: Tokenizer | None = None,
    seed: int = 0,
    labels: tuple[str, ...] = ("x", "y"),
) -> Path:
    """A run of its configuration, its vocabulary and random weights."""
    tokenizer, config = tokenizer or Byte(), compose([*WORDS, *words])
    part = build({name: config[name] for name in OF_TASK if name in config})
    facts = {"vocab_size": tokenizer.vocab_size, "labels": [*labels], "bytes_per_token": 1.0}
    task = make_task(part, facts, tokenizer, config["context"])
    model = part["model"](vocab_size=count_rows(tokenizer.vocab_size, task, part["model"], 1))
    model = task.wrap(model) if hasattr(task, "wrap") else model
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, 0, 0.2, generator=generator)
    written(path, 5, weights=model.state_dict())
    prepare_run(config | {"run_id": path.name, "output_dir": str(path.parent)}, [*WORDS, *words])
    tokenizer.save(Run(path).tokenizer)
    Run(path).pin(tokens="none", tokenizer=tokenizer.fingerprint, facts=facts)
    return path
