"""Sizes of a configuration's model that layouts must divide, read without building it."""

from triad.config.processes import degree
from triad.models.pattern import Pattern

STAGES = {"gpipe": 1, "1f1b": 1, "interleaved": 2, "zero_bubble": 2, "zbv": 2, "dualpipev": 2}  # of a process
SPLIT = ("zero_bubble", "zbv", "dualpipev")  # gradients of weights apart from those of inputs
FOLDED = ("zbv", "dualpipev")  # the last stage is with the first


def is_transformer(config: dict) -> bool:
    """Whether the model is a stack of blocks, each with attention, or what stands in its place."""
    return isinstance(config["model"].get("attention"), dict)


def heads(config: dict) -> int:
    """Heads of attention, or 0 where it has none."""
    return _part(config, "attention").get("heads") or 0


def kv_heads(config: dict) -> int:
    """Heads of keys and values."""
    return _part(config, "attention").get("kv_heads") or heads(config)


def hidden(config: dict) -> int:
    """Hidden units, or 0 if the layer chooses a number that powers of two divide."""
    return _part(config, "feedforward").get("hidden") or 0


def experts(config: dict) -> int:
    """Experts of a layer, or 0 where there are none."""
    return _part(config, "feedforward").get("experts") or 0


def expert_layers(config: dict) -> int:
    """How many layers of a Transformer have experts."""
    model = config["model"]
    if not (keys := model.get("pattern")):
        return model["depth"] if experts(config) else 0
    pattern = Pattern(keys["leading"], keys["repeated"], keys["parts"])
    own = [pattern(layer).get("feedforward", model["feedforward"]) for layer in range(model["depth"])]
    return sum("experts" in feedforward for feedforward in own)


def stages(config: dict) -> int:
    return degree(config, "pipeline") * STAGES.get(config["strategy"].get("schedule", "1f1b"), 1)


def _part(config: dict, name: str) -> dict:
    part = config["model"].get(name)
    return part if isinstance(part, dict) else {}
