"""Updates that cannot work, and what torch's own optimizers offer."""

import math
from collections.abc import Iterator

from triad.config.offers import get_declared
from triad.config.refusals import Impossible
from triad.config.schema import find_faults, read_constant
from triad.layers.refusals import find_head_faults

BASE = "parametrisation.base"
ROLES = read_constant("triad.layers.parameters.Role")
# by_element: each number is updated by itself; adaptive: the gradient is divided by its size
OFFERS = {
    "torch.optim.AdamW": {"by_element": True, "adaptive": True},
    "torch.optim.Adam": {"by_element": True, "adaptive": True},
    "torch.optim.Adagrad": {"adaptive": True},
    "torch.optim.SGD": {"by_element": True},
    "torch.optim.RMSprop": {"by_element": True},
}
RANGES = {  # of arguments of torch's optimizers: at least the first, and below the second
    **dict.fromkeys(("lr", "eps", "weight_decay", "lr_decay", "initial_accumulator_value"), (0.0, math.inf)),
    **dict.fromkeys(("alpha", "momentum", "dampening", "betas"), (0.0, 1.0)),
}


def find_argument_faults(node: dict) -> Iterator[str]:
    """What torch's optimizers would not take, or take and diverge."""
    for key, (low, high) in RANGES.items() if node["_target_"] in OFFERS else ():
        given = node.get(key, low)
        for value in given if isinstance(given, list) else [given]:
            if isinstance(value, int | float) and not low <= value < high:
                below = "" if high == math.inf else f" and below {high:g}"
                yield f"optimizer.{key}={given}: at least {low:g}{below}"
        if key == "betas" and isinstance(given, list) and len(given) != 2:
            yield f"optimizer.betas={given}: two numbers"


def strange_roles(config: dict) -> list[str]:
    """The names given as roles that are no role."""
    named = [*config["decay"], *config["regularizer"].get("roles", ())]
    return [role for role in named if role not in ROLES]


def find_base_faults(config: dict) -> Iterator[str]:
    """What is wrong with the model that muP starts from."""
    if not (changes := read_base(config)):
        return
    yield from _find_missing_parts(config["model"], changes, BASE)
    base = _replace_arguments(config["model"], changes)
    yield from find_faults(base, BASE)
    yield from find_head_faults(base, BASE)


def read_base(config: dict) -> dict:
    """The arguments of the model in which muP's base differs from it."""
    return config["parametrisation"].get("base") or {}


def _replace_arguments(node: dict, changes: dict) -> dict:
    """A part of a configuration with other arguments, also of its parts: see triad.optim.parametrisation."""
    parts = {name for name, value in changes.items() if isinstance(value, dict) and _has_part(node, name)}
    return node | changes | {name: _replace_arguments(node[name], changes[name]) for name in parts}


def _find_missing_parts(node: dict, changes: dict, path: str) -> Iterator[str]:
    for name, value in changes.items():
        if isinstance(value, dict) and _has_part(node, name):
            yield from _find_missing_parts(node[name], value, f"{path}.{name}")
        elif isinstance(value, dict):
            yield f"{path}.{name}: the model has no such part"


def _has_part(node: dict, name: str) -> bool:
    part = node.get(name)
    return isinstance(part, dict) and bool(part.get("_partial_"))


def ties_head(config: dict) -> bool:
    """Whether the embedding is the head, if the task does not replace it."""
    return bool(get_declared(config["model"], "tied")) and not get_declared(config["task"], "replaces_head")


def facts(config: dict) -> dict:
    """What the sentences below name, beside the configuration itself."""
    untied = "model.tied=false, or parametrisation=standard"
    return {
        "argument_fault": next(find_argument_faults(config["optimizer"]), ""),
        "strange_roles": " and ".join(strange_roles(config)),
        "roles": ", ".join(ROLES),
        "base_fault": next(find_base_faults(config), ""),
        "untied": untied if "tied" in config["model"] else "parametrisation=standard",
    }


TABLE = [
    Impossible(
        "arguments of torch's optimizers have ranges",
        "optimizer=adam optimizer.betas=[0.9,1.0]",
        lambda c: next(find_argument_faults(c["optimizer"]), ""),
        "arguments of an optimizer have ranges: {argument_fault}",
    ),
    Impossible(
        "a role has a name",
        "decay=[matrices]",
        lambda c: bool(strange_roles(c)),
        "{strange_roles} is no role of parameters, for decay or regularizer.roles: use some of {roles}",
    ),
    Impossible(
        "muP compares the model with one that can be built",
        "parametrisation=mup parametrisation.base.width=66",
        lambda c: next(find_base_faults(c), ""),
        "the model of parametrisation.base cannot be built: {base_fault}",
    ),
    Impossible(
        "muP compares widths, not depths",
        "parametrisation=mup +parametrisation.base.depth=1",
        lambda c: read_base(c).get("depth") not in (None, c["model"].get("depth")),
        "parametrisation.base.depth={parametrisation[base][depth]} is not model.depth={model[depth]}: another"
        " depth needs residual branches that are scaled by it (CompleteP, arXiv:2505.01618), and muP compares"
        " widths only: leave parametrisation.base.depth out",
    ),
    Impossible(
        "muP multiplies the logits of a tied head",
        "parametrisation=mup model.tied=true",
        lambda c: "base" in c["parametrisation"] and ties_head(c),
        "parametrisation=mup multiplies logits of a head that is also the embedding by base width / width,"
        " a factor that the model does not have: use {untied}",
    ),
    Impossible(
        "torch's fused SGD knows whole weights only",
        "strategy=fsdp optimizer=sgd optimizer.fused=true trainer.devices=2 trainer.accelerator=cpu",
        lambda c: (
            "data_shard" in c["strategy"]
            and c["optimizer"]["_target_"] == "torch.optim.SGD"
            and c["optimizer"].get("fused")
        ),
        "optimizer.fused=true of sgd does not know split weights: use optimizer.fused=null here",
    ),
    Impossible(
        "torch's fused SGD for CPUs leaves 16-bit weights as they are",
        "optimizer=sgd optimizer.fused=true precision=bf16-true trainer.accelerator=cpu",
        lambda c: (
            c["optimizer"]["_target_"] == "torch.optim.SGD"
            and c["optimizer"].get("fused")
            and c["precision"].get("name") == "bf16-true"
            and c["trainer"]["accelerator"] == "cpu"
        ),
        "optimizer.fused=true of sgd does not update bf16 weights on a CPU (torch 2.13): use "
        "optimizer.fused=null",
    ),
]
