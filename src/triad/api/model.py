"""A model of conf/model with initial weights, for one's own Python."""

import json
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from triad.config.build import build
from triad.config.command_line import key_of
from triad.config.compose import compose_parts
from triad.config.errors import Refusal
from triad.config.own_code import permitting
from triad.hardware.device import find_device
from triad.optim.initialise import initialise


def model(
    name: str,
    *overrides: str,
    vocab_size: int,
    context: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    **keys: Any,
) -> nn.Module:
    """The model that `python train.py model=<name>` trains, with the weights that it starts from.

        triad.model("gpt2", vocab_size=50257, context=1024)
        triad.model("moe", "router=switch", vocab_size=256, width=64, attention={"heads": 4})

    `keys` are those of the model's YAML file, `overrides` words as train.py takes them; all others are as the
    file has them. `vocab_size` counts the rows of the embedding, `context` is conf/train.yaml's unless given.
    On device="meta" it has shapes and no weights. One's own model is made by the words packages=[mypkg] and
    --config-dir DIR, as train.py takes them. Raises Refusal for a name or a key that is not known.
    """
    if type(vocab_size) is not int or vocab_size < 1:
        raise Refusal(f"vocab_size={vocab_size}: the number of rows of the embedding, at least 1")
    place = find_device(device)
    with permitting([*overrides]) as words:
        make_model = build(_compose(name, words, context, keys))
        with torch.device("meta"):
            made = make_model(vocab_size=vocab_size)
    if place.type == "meta":
        return made
    made.to_empty(device=place)
    initialise(made, seed)
    return made


def _compose(name: str, words: list[str], context: int | None, keys: dict[str, Any]) -> dict[str, Any]:
    for word in words:
        if key_of(word).partition(".")[0] not in ("model", "router", "context"):
            raise Refusal(f"{word} is nothing of a model: give words of model, router and context")
    words = [f"model={name}", *words, *_spell(keys, "model")]
    words += [] if context is None else [f"context={context}"]
    return compose_parts(words, {"model"}, ("models", "layers"))["model"]


def _spell(keys: dict[str, Any], path: str) -> Iterator[str]:
    """The overrides that set some keys, those of a dictionary each on its own."""
    for key, value in keys.items():
        if isinstance(value, dict):
            yield from _spell(value, f"{path}.{key}")
        else:
            yield f"{path}.{key}={json.dumps(value)}"
