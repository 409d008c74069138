"""Layers whose sizes do not go together."""

from collections.abc import Iterator

from triad.config.offers import walk_parts
from triad.config.refusals import Impossible
from triad.config.schema import read_signature


def find_head_faults(model: dict, path: str = "model") -> Iterator[str]:
    """A sentence for each layer of a model whose heads are not of one whole size, or odd where they turn."""
    for key, part in walk_parts(model, path):
        arguments, heads = read_signature(part["_target_"]).parameters, part.get("heads")
        if not heads or "width" not in arguments:
            continue
        if "head_size" in arguments and part.get("head_size") is None:
            yield from _find_uneven(key, "heads", heads, f"{path}.width", model["width"])
        if kv_heads := part.get("kv_heads"):
            yield from _find_uneven(key, "kv_heads", kv_heads, f"{key}.heads", heads)
        size = part.get("rotary_size") or part.get("head_size") or model["width"] // heads
        if part.get("rotary") and size % 2:
            yield f"{key}.rotary turns pairs of numbers, and a head of {size} is odd: change {key}.heads"


def _find_uneven(key: str, name: str, divisor: int, of: str, whole: int) -> Iterator[str]:
    if divisor > 0 and whole % divisor:
        below = max(n for n in range(1, divisor) if whole % n == 0)
        above = [n for n in range(divisor, whole + 1) if whole % n == 0][:1]
        near = " or ".join(map(str, [below, *above]))
        yield f"{key}.{name}={divisor} does not divide {of}={whole}: use {key}.{name}={near}"


def facts(config: dict) -> dict:
    """What the sentence below names, beside the configuration itself."""
    return {"head_fault": next(find_head_faults(config["model"]), "")}


TABLE = [
    Impossible(
        "heads of attention are of one size, even where they turn",
        "model.attention.heads=7",
        lambda c: next(find_head_faults(c["model"]), ""),
        "heads of attention are whole: {head_fault}",
    ),
]
