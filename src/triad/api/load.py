"""A trained model, for one's own Python."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from triad.api.generation import Generation
from triad.checkpoints.folder import BEST, describe_checkpoint, find_checkpoint
from triad.checkpoints.trained import open_trained
from triad.config.errors import Refusal
from triad.config.own_code import permitting
from triad.data.tokenizers.tokenizer import Tokenizer
from triad.hardware.device import find_device
from triad.runs.directory import Run, find_run_of
from triad.storage.manifest import MANIFEST


def load(
    run: Run | Path | str,
    checkpoint: int | str | Path = BEST,
    weights: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | str | None = None,
    packages: str | Sequence[str] = (),
) -> tuple[Any, Tokenizer]:
    """The model of a run, a torch.nn.Module ready to be evaluated, and its tokenizer.

        model, tokenizer = triad.load("outputs/<run_id>")
        logits_BTV, _ = model(torch.tensor([tokenizer.encode("def ").tolist()]))
        model.generate("def ", tokens=100, temperature=0.8)       of a task that takes prompts: see Generation
        model.classify(["a text", "another"])                     of one that predicts labels; model.labels

    `checkpoint` is the best by the metric that the run monitors, or last, a step, or a checkpoint's folder,
    which may also take the place of `run`. `weights` are those that the metric judged, such as an average, or
    those named: model, ema, swa, average. One line on the standard error says which they are. `model.task` is
    the run's task; `dtype` is that of the weights; `packages` are those of one's own that the run may call,
    as packages=[mypkg] permits them at a start. Raises FileNotFoundError or ValueError where none is.
    """
    place = Path(str(run))
    if not (place / MANIFEST).is_file():
        Run(place).config()  # raises, of one that is not there or damaged
    path = find_checkpoint(place, checkpoint)
    if (holder := find_run_of(path)) is None:
        raise FileNotFoundError(f"{path}: it lies in no run, whose configuration says what model it is of")
    names = packages if isinstance(packages, str) else ",".join(packages)
    with permitting([f"packages=[{names}]"] if names else []):
        model, tokenizer, task = open_trained(holder, path, weights)
    model = model.to(find_device(device), _find_dtype(dtype))
    model.task = task
    if getattr(task, "takes_prompts", False):
        model.generate = Generation(model, tokenizer, task, holder.config())
    if hasattr(task, "classify"):
        model.classify, model.labels = partial(task.classify, model), task.classes
    print(describe_checkpoint(path, weights), file=sys.stderr)
    return model, tokenizer


def _find_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype | None) or (isinstance(dtype, str) and found is None):
        raise Refusal(f"dtype={dtype}: use float32, bfloat16, float16 or float64")
    return found
