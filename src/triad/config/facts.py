"""What a configuration says of its model and layout, without building either: what refusals speak of."""

import re
from collections.abc import Iterator
from math import prod

from triad.config.processes import AXES, data_ranks, degree, gpus, world_size
from triad.models.pattern import Pattern
from triad.schedules import batch_size as batch
from triad.schedules.learning_rate import length

STAGES = {"gpipe": 1, "1f1b": 1, "interleaved": 2, "zero_bubble": 2, "zbv": 2, "dualpipev": 2}  # of a process
SPLIT = ("zero_bubble", "zbv", "dualpipev")  # gradients of weights apart from those of inputs
FOLDED = ("zbv", "dualpipev")  # the last stage is with the first
# what a token is given depends on those behind it
SEQUENCE_WIDE = {"expert_choice", "sinkhorn", "base_layer"}
COUNTED = SEQUENCE_WIDE | {"switch", "gshard"}  # ... or on how many there are before it
READING = {"hash", "gshard"}  # what a token is given depends on the words themselves
BY_ELEMENT = ("AdamW", "Adam", "SGD", "Lion", "RMSprop")  # update each number by itself
ADAPTIVE = ("AdamW", "Adam", "Adagrad")  # divide by the gradient's size
# those of triad.layers.parameters, which imports torch
ROLES = ("matrix", "embedding", "head", "vector", "router", "expert", "convolution", "state")


def fills_the_world(config: dict) -> bool:
    degrees = [config["strategy"][axis] for axis in AXES]
    return min(degrees) > 0 and prod(degrees) == world_size(config)


def is_deepspeed(config: dict) -> bool:
    return config["strategy"]["_target_"].endswith(".DeepSpeed")


def is_transformer(config: dict) -> bool:
    return isinstance(config["model"].get("attention"), dict)


def is_encoder(config: dict) -> bool:
    return config["model"]["_target_"].endswith(".Encoder")


def is_encoder_decoder(config: dict) -> bool:
    return config["model"]["_target_"].endswith(".EncoderDecoder")


def learns(config: dict, task: str) -> bool:
    return config["task"]["_target_"].endswith(f".{task}")


def learns_from_pairs(config: dict) -> bool:
    """Whether sources and targets are in the data, not made of its rows."""
    return task_name(config) == "translation"


def is_labelled(config: dict) -> bool:
    """Whether each document of the data has a label."""
    return config["data"]["_target_"].split(".")[-2] in ("labelled", "packages")


def task_name(config: dict) -> str:
    """What conf/task calls it: sequences to sequences by the rule of their pairs."""
    task = config["task"]
    rule = task.get("pairs", {}).get("_target_", "").rpartition(".")[2]
    return {"given": "translation"}.get(rule, rule) or task["_target_"].split(".")[-2]


def is_penalized(config: dict) -> bool:
    return not config["regularizer"]["_target_"].endswith(".Unpenalized")


def is_mup(config: dict) -> bool:
    return config["parametrisation"]["_target_"].endswith(".MuP")


def strange_roles(config: dict) -> list[str]:
    """Words for roles of parameters that are none."""
    named = [*config["decay"], *config["regularizer"].get("roles", ())]
    return [role for role in named if role not in ROLES]


def beyond_rows(config: dict) -> str | None:
    """The axis over which something else than rows, copies or experts is spread, if there is one."""
    return next((axis for axis in ("tensor", "context", "pipeline") if degree(config, axis) > 1), None)


def heads(config: dict) -> int:
    return config["model"]["attention"]["heads"] if is_transformer(config) else 0


def kv_heads(config: dict) -> int:
    return config["model"]["attention"].get("kv_heads") or heads(config) if is_transformer(config) else 0


def joins_heads(config: dict) -> bool:
    norm = config["model"]["attention"].get("query_key_norm") if is_transformer(config) else None
    return bool(norm) and norm["_target_"].endswith(".AllHeadsRMSNorm")


def hidden(config: dict) -> int:
    """Hidden units, or 0 where the layer chooses: a number that powers of two divide."""
    return config["model"]["feedforward"].get("hidden") or 0 if is_transformer(config) else 0


def experts(config: dict) -> int:
    return config["model"]["feedforward"].get("experts", 0) if is_transformer(config) else 0


def expert_layers(config: dict) -> int:
    """How many layers of a Transformer have experts."""
    model = config["model"]
    if not (keys := model.get("pattern")):
        return model["depth"] if experts(config) else 0
    pattern = Pattern(keys["leading"], keys["repeated"], keys["parts"])
    own = [pattern(layer).get("feedforward", model["feedforward"]) for layer in range(model["depth"])]
    return sum("experts" in feedforward for feedforward in own)


def gateless(config: dict) -> bool:
    """Whether some experts are not the layer of three matrices whose rows travel."""
    return bool(config["model"]["feedforward"].get("expert")) if is_transformer(config) else False


def carries_state(config: dict) -> bool:
    """Whether layers of a pattern read a sequence from its beginning."""
    kinds = (config["model"].get("pattern") or {}).get("parts", {}).values()
    return any(kind.get("attention", {}).get("_target_", "").endswith(".Recurrent") for kind in kinds)


def routers(config: dict) -> set[str]:
    """The routers of a model's layers, wherever they are."""
    return {node["_target_"].split(".")[-2] for node in _routers(config["model"])}


def _routers(node: object) -> Iterator[dict]:
    if isinstance(node, list):
        for item in node:
            yield from _routers(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "router" and isinstance(value, dict):
                yield value
            yield from _routers(value)


def batch_rule(config: dict) -> batch.Rule | None:
    """The rule of the batch's size, where it is one of ours. Raises ValueError if it contradicts itself."""
    node = config["batch"]
    module, _, name = node["_target_"].rpartition(".")
    if module != batch.__name__:
        return None
    return getattr(batch, name)(**{key: value for key, value in node.items() if not key.startswith("_")})


def sizes(config: dict) -> list[int]:
    """The sizes of a run's batches, as far as they are known before its data is."""
    rule = batch_rule(config)
    return rule.sizes if rule else []


def has_size(config: dict, name: str) -> bool:
    """Whether the batch is that of conf/batch/<name>.yaml."""
    return config["batch"]["_target_"] == f"{batch.__name__}.{name}"


def outgrown(config: dict) -> bool:
    """Whether a batch is to change behind the end of the run."""
    rule, steps = batch_rule(config), config["trainer"]["max_steps"]
    return rule is not None and len(rule.sizes) > 1 and steps > 0 and not rule.reaches(steps)


def schedules(config: dict, name: str) -> bool:
    """Whether the learning rate is that of conf/scheduler/<name>.yaml."""
    target = config["scheduler"]["_target_"].rpartition(".")[2]
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", target).lower() == name


def steps_of(config: dict, key: str) -> int:
    """A time of the schedule in steps: given as such, or below 1 as a fraction of the run."""
    return length(config["scheduler"].get(key, 0), config["trainer"]["max_steps"])


def overlap(config: dict) -> int:
    """Steps for which a rate would rise and fall at once."""
    if not schedules(config, "wsd"):
        return 0
    fall = round(config["scheduler"]["decay"] * config["trainer"]["max_steps"])
    return steps_of(config, "warmup") + fall - config["trainer"]["max_steps"]


def validations(config: dict) -> int:
    """How often a run is validated before its end."""
    trainer = config["trainer"]
    if trainer.get("limit_val_batches") == 0:
        return 0
    return (trainer["max_steps"] - 1) // max(1, int(trainer["val_check_interval"] or trainer["max_steps"]))


def stages(config: dict) -> int:
    return degree(config, "pipeline") * STAGES.get(config["strategy"].get("schedule", "1f1b"), 1)


def _of_the_mesh(c: dict) -> dict:
    axes = {axis: degree(c, axis) for axis in AXES if axis != "context"} | {
        "context_degree": degree(c, "context")
    }
    tensor, chunks = axes["tensor"], 2 * axes["context_degree"]
    divided = [n for n in (heads(c), kv_heads(c), hidden(c)) if n]
    units = c["model"].get("depth", 0) + 2
    return axes | {
        "model_name": re.sub("(?<=[a-z])(?=[A-Z])", "_", c["model"]["_target_"].rpartition(".")[2]).lower(),
        "task_name": task_name(c),
        "beyond_rows": beyond_rows(c),
        "data_name": c["data"]["_target_"].rpartition(".")[2],
        "heads": heads(c),
        "kv_heads": kv_heads(c),
        "hidden": hidden(c),
        "experts": experts(c),
        "routers": " and ".join(sorted(routers(c))),
        "near_tensor": max(n for n in range(1, max(tensor, 1) + 1) if not any(d % n for d in divided)),
        "near_expert": max(n for n in range(1, max(axes["expert"], 1) + 1) if experts(c) % n == 0),
        "near_stretches": max(1, round(c["context"] / max(tensor, 1))) * max(tensor, 1),
        "near_chunks": max(1, round(c["context"] / max(chunks, 1))) * max(chunks, 1),
        "schedules": ", ".join(STAGES),
        "stages": stages(c),
        "units": units,
        "near_depth": stages(c) - 2,
        "near_pipeline": max(1, units * axes["pipeline"] // max(stages(c), 1)),
    }


def facts(config: dict) -> dict:
    found = {"devices": config["trainer"]["devices"], "gpus": gpus()}
    strategy = config["strategy"]
    found |= {"overlap": overlap(config), "period": steps_of(config, "period")}
    found |= {"last_size": sizes(config)[-1] if sizes(config) else 0}
    found |= _of_the_mesh(config)
    found |= {"strange_roles": " and ".join(strange_roles(config)), "roles": ", ".join(ROLES)}
    found["degrees"] = " ".join(f"{axis}={strategy[axis]}" for axis in AXES if strategy.get(axis, 1) != 1)
    if str(found["devices"]).isdigit() and int(found["devices"]):
        ranks, size = max(1, data_ranks(config)), config["batch"].get("size") or 1
        found |= {"world": world_size(config), "data_ranks": ranks}
        found |= {"near_batch": max(1, round(size / ranks)) * ranks}
        found |= {"uneven": ", ".join(str(rows) for rows in sizes(config) if rows % ranks)}
    return found
