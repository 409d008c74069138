"""A model and its tokenizer out of a run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from triad.checkpoints.folder import BEST, find_checkpoint
from triad.checkpoints.tensors import load_model
from triad.config.build import build, supply
from triad.data.tokenizers.tokenizer import Tokenizer, load_tokenizer
from triad.runs.directory import Run, find_run_of

OF_TASK = ("task", "model", "metrics", "decoding")  # groups that make_task asks; old runs lack some


def trained(
    run: Run | Path | str,
    checkpoint: int | str | Path = BEST,
    weights: str | None = None,
    device: torch.device | str = "cpu",
) -> tuple[Any, Tokenizer]:
    """The model of a run, ready to be evaluated, and its tokenizer.

    Its weights are those of the best checkpoint, or of another, see find_checkpoint: the ones that are
    validated, or the set that `weights` names, model, ema, swa or average, as far as it was kept. A task that
    wraps the model, such as a classifier's, has wrapped it. Raises FileNotFoundError or ValueError where
    there is none.
    """
    run = run if isinstance(run, Run) else Run(run)
    run.config()  # raises, of one that is not there or damaged
    model, tokenizer, _ = open_trained(run, find_checkpoint(run.path, checkpoint), weights)
    return model.to(device), tokenizer


def open_trained(run: Run, checkpoint: Path, weights: str | None) -> tuple[Any, Tokenizer, Any]:
    """The model of a run with weights of one of its checkpoints, its tokenizer and its task."""
    config, tokenizer = run.config(), load_tokenizer(run.tokenizer)
    part = build({name: config[name] for name in OF_TASK if name in config})
    task, make_model = make_task(part, run.pinned()["facts"], tokenizer, config["context"]), part["model"]
    multiple = config.get("pad_vocab_to_multiple_of", 1)
    model: nn.Module = make_model(vocab_size=count_rows(tokenizer.vocab_size, task, make_model, multiple))
    model = task.wrap(model) if hasattr(task, "wrap") else model
    load_model(checkpoint, model.eval(), weights)
    return model, tokenizer, task


def refuse_other_tokens(weights: str | None, tokenizer: Tokenizer) -> None:
    """Raise ValueError for the weights of a run whose tokens are other ones, be they as many."""
    run = find_run_of(Path(weights)) if weights else None
    if run and run.data_file.is_file() and run.pinned()["tokenizer"] != tokenizer.fingerprint:
        raise ValueError(
            f"weights={weights}: that run has another tokenizer, so its tokens mean something else; use "
            f"tokenizer=saved tokenizer.path={run.tokenizer}"
        )


def make_task(part: dict[str, Any], facts: dict[str, Any], tokenizer: Tokenizer, context: int) -> Any:
    """The task of a run, supplied by name with what its constructor takes, and its metrics.

    Supplied are the facts of the data (vocab_size, bytes_per_token, labels), tokenizer, context, decoding and
    what the model sees (model_sees). `part` are the parts of a run by name, those of OF_TASK at least.
    """
    run = {"tokenizer": tokenizer, "context": context, "model_sees": find_sees(part["model"])}
    offers = facts | run | {"decoding": part.get("decoding")}
    metrics = {name: supply(metric, offers) for name, metric in part.get("metrics", {}).items() if metric}
    return supply(part["task"], offers | {"metrics": metrics})


def find_sees(make_model: Callable) -> str:
    """What a model declares that it sees: "past", "window", "both sides" or "source"."""
    return getattr(getattr(make_model, "func", None), "sees", "token")


def count_rows(vocab_size: int, task: Any, make_model: Callable, multiple: int) -> int:
    """Rows of a model's embedding: tokens of the tokenizer, special tokens of the task, and padding.

    The rows that pad their number to a multiple stand behind all tokens. No text has them and none is a
    target; they take part in the softmax, where they can only lower the probability of a token.

    A model that sees both sides has at least one special token, the mask, whatever its task is, so that every
    task can start from the weights of another.
    """
    masks = find_sees(make_model) == "both sides"
    rows = vocab_size + max(getattr(task, "special_tokens", 0), int(masks))
    return -(-rows // multiple) * multiple
