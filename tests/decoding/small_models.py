"""Every model of conf/model that generates, with few and small layers."""

from functools import cache
from typing import Any

from torch import nn

from triad.config.build import build
from triad.config.compose import compose
from triad.config.offers import find_choices, get_declared, read_choices
from triad.optim.initialise import initialise

CONTEXT, WORDS = 16, 17
NAMES = find_choices("model", "sees", ("past", "window", "source"))
SIZES = {
    **{"context": CONTEXT, "width": 32, "depth": 3, "heads": 4, "kv_heads": 2, "head_size": 8, "hidden": 16},
    **{"experts": 8, "top_k": 2, "groups": 2, "top_groups": 1, "size": 3, "original": 8, "query_rank": 16},
    **{"key_value_rank": 8, "content_size": 8, "rotary_size": 4, "value_size": 8},
}


@cache
def make(name: str) -> Any:
    """A model in fp64, ready to be evaluated, whose weights follow from its name."""
    choice = "decoder" if name == "key shift" else name
    node = read_choices("model")[choice]
    if "${" in str(node):
        task = ["task=copy"] if get_declared(node, "sees") == "source" else []
        node = compose([f"model={choice}", "context=16", *task])["model"]
    if name == "key shift":
        shift = {"_target_": "triad.layers.key_shift.KeyShift", "_partial_": True, "fraction": 0.5}
        node = node | {"attention": node["attention"] | {"key_shift": shift}}
    model: nn.Module = build(shrink(node))(vocab_size=WORDS, initial=lambda **_: 0.3)
    initialise(model, 0)
    return model.double().eval()


def shrink(node: Any) -> Any:
    """A configuration with small sizes wherever it has any."""
    if isinstance(node, list):
        return [shrink(item) for item in node]
    if not isinstance(node, dict):
        return node
    small = {key: shrink(value) for key, value in node.items()}
    small |= {key: size for key, size in SIZES.items() if isinstance(node.get(key), int | str)}
    if "fraction" in node and "rotary" in str(node["_target_"]):
        small["fraction"] = 0.5
    return small
