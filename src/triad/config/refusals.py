"""What cannot be combined: refused before any process starts, in one sentence with a remedy.

A part says beside its code what it needs of the others and what it offers, hides or replaces; the rules below
match them and find the remedy among the choices of conf/. What takes arithmetic, such as heads that do not
divide, is a row of a table in <part>/refusals.py, with an example; the first table stands here. Declared are

    needs      {"model.sees": ("past",)}: the values that properties of other parts may have; an argument of
               a part is a property, too
    uses       ("gradients",): what it looks at or changes, beyond what training does
    hides      {"weights": {"stage": (3,)}}: what a strategy keeps from others, if its arguments are these
    replaces   "weights": what it stands in for; only one part may
    sees       token (where it says nothing) < past < both sides: what a layer's output depends on
    splits     ("tensor", "context"): axes of a mesh over which a model, layer or task may be cut
"""

from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib import import_module
from typing import Any, NamedTuple

from triad.config.locations import PACKAGE
from triad.config.offers import find_choices, get_declared, name_choice, read_choices, walk_parts
from triad.config.processes import (
    AXES,
    count_gpus,
    degree,
    fills_the_world,
    ranks_are_here,
    ranks_here,
    world_size,
)
from triad.config.schema import is_class

SHOWN = 4  # choices that a remedy lists
CUT = ("tensor", "context", "pipeline")  # axes that cut a model; the others deal rows, copies or experts


PLURAL = ("data", "callbacks")
PHRASES = {  # declared properties as verbs, for sentences
    "sees": "sees {}",
    "yields": "yields {}",
    "sizes": "has {} size",
    "by_element": "updates each number by itself",
    "adaptive": "divides by the size of the gradient",
    "averages": "keeps an average of the weights",
    "shows": "validates with the {}",
}
WORDS = {"past": "the past", "window": "a window of the past", "source": "a source"}  # values, in a sentence


class Impossible(NamedTuple):
    """A combination that cannot work, words that ask for it, and the sentence that refuses it."""

    why: str
    example: str
    holds: Callable[[dict], Any]
    sentence: str  # formatted with the configuration's top-level nodes and the table's own `facts`


def facts(config: dict) -> dict:
    """What the sentences below name, beside the configuration itself."""
    strategy, devices = config["strategy"], config["trainer"]["devices"]
    degrees = " ".join(f"{axis}={strategy[axis]}" for axis in AXES if strategy.get(axis, 1) != 1)
    world = world_size(config) if str(devices).isdigit() else devices
    return {"devices": devices, "gpus": count_gpus(), "degrees": degrees, "world": world}


TABLE = [
    Impossible(
        "a device is counted, not named",
        "trainer.devices=[1]",
        lambda c: not str(c["trainer"]["devices"]).isdigit() or int(c["trainer"]["devices"]) < 1,
        "trainer.devices={devices}: give a number of processes or auto; CUDA_VISIBLE_DEVICES says which GPUs",
    ),
    Impossible(
        "only CPUs and NVIDIA GPUs are known",
        "trainer.accelerator=tpu",
        lambda c: c["trainer"]["accelerator"] not in ("cpu", "gpu", "cuda"),
        "trainer.accelerator={trainer[accelerator]} is not supported: use cpu or gpu",
    ),
    Impossible(
        "schedules need to know how long the run is",
        "trainer.max_steps=-1",
        lambda c: c["trainer"]["max_steps"] < 1,
        "trainer.max_steps={trainer[max_steps]}: a run needs a number of steps",
    ),
    Impossible(
        "an epoch of Lightning's would start the data again",
        "+trainer.limit_train_batches=3",
        lambda c: "limit_train_batches" in c["trainer"],
        "trainer.limit_train_batches is not supported: use trainer.max_steps",
    ),
    Impossible(
        "python train.py starts processes on its own machine only",
        "trainer.num_nodes=2",
        lambda c: c["trainer"]["num_nodes"] > 1 and not ranks_are_here(),
        "trainer.num_nodes={trainer[num_nodes]} needs torchrun or srun on every machine, see docs/running.md",
    ),
    Impossible(
        "one process cannot use several devices",
        "trainer.devices=2",
        lambda c: get_declared(c["strategy"], "processes") == 1 and world_size(c) > 1,
        "strategy=single runs one process but trainer.devices={devices}: use strategy=ddp or strategy=fsdp",
    ),
    Impossible(
        "more GPU processes than GPUs",
        "strategy=ddp trainer.accelerator=gpu trainer.devices=99",
        lambda c: c["trainer"]["accelerator"] in ("gpu", "cuda") and ranks_here(c) > count_gpus(),
        "trainer.devices={devices} but this machine shows {gpus} GPUs: lower it or use "
        "trainer.accelerator=cpu",
    ),
    Impossible(
        "the degrees of a mesh multiply to the number of processes",
        "strategy=mesh trainer.devices=2 trainer.accelerator=cpu strategy.tensor=3",
        lambda c: "data_shard" in c["strategy"] and not fills_the_world(c),
        "strategy: {degrees} do not multiply to the {world} processes of trainer.devices={devices}; change "
        "one of them, or let one be -1 to take what is left",
    ),
    Impossible(
        "a context without tokens",
        "context=0",
        lambda c: c["context"] < 1,
        "context={context}: a sequence needs at least one token",
    ),
]


def refusals(config: dict) -> Iterator[str]:
    """One sentence for each reason why a configuration cannot work, the first to be mended first."""
    yield from _rows(config, TABLE, facts)
    yield from find_unmet_needs(config)
    yield from find_hidden_uses(config)
    yield from find_double_replacements(config)
    yield from find_views_of_the_future(config)
    yield from find_uncut_parts(config)
    for module in tables():
        yield from _rows(config, module.TABLE, getattr(module, "facts", dict))


@cache
def tables() -> list[Any]:
    """The modules <part>/refusals.py; none of them imports torch."""
    names = sorted(path.parent.name for path in PACKAGE.glob("*/refusals.py") if path.parent.name != "config")
    return [import_module(f"triad.{name}.refusals") for name in names]


def find_unmet_needs(config: dict) -> Iterator[str]:
    """Parts whose `needs` no other part meets."""
    for key, part in walk_parts(config):
        for need, allowed in (get_declared(part, "needs") or {}).items():
            group, _, name = need.partition(".")
            values = _values(config, group, name)
            if values & {*allowed}:
                continue
            yield _sentence(config, key, group, name, allowed, values)


def find_hidden_uses(config: dict) -> Iterator[str]:
    """Parts that use what the strategy hides."""
    for key, part in walk_parts(config):
        for what in get_declared(part, "uses") or ():
            if _hides(config["strategy"], what):
                others = [name for name, node in read_choices("strategy").items() if not _hides(node, what)]
                remedies = [_remedy("strategy", others), *_others(config, key)]
                yield (
                    f"{_name(config, key)} uses the {what}, which {_name(config, 'strategy')} hides: "
                    f"use {_or(remedies)}"
                )


def find_double_replacements(config: dict) -> Iterator[str]:
    """Several parts that replace the same thing."""
    replacing: dict[str, list[str]] = {}
    for key, part in walk_parts(config):
        if what := get_declared(part, "replaces"):
            replacing.setdefault(what, []).append(key)
    for what, keys in replacing.items():
        if len(keys) > 1:
            yield f"{' and '.join(keys)} each put something in the place of the {what}: use one of them"


def find_views_of_the_future(config: dict) -> Iterator[str]:
    """Layers that compare all tokens of a sequence, in a model that is not to see those behind a token."""
    if get_declared(config["model"], "sees") in ("both sides", None):
        return
    for path, part in walk_parts(config["model"], "model"):
        if path != "model" and get_declared(part, "sees") == "both sides":
            is_router = path.split(".")[-1] == "router"
            routers = find_choices("router", "sees", (None, "past")) if is_router else []
            models = find_choices("model", "sees", ("both sides",))
            yield (
                f"{_name(config, path)} compares all tokens of a sequence, so {_name(config, 'model')} would "
                f"see the future: use {_or([_remedy('router', routers), _remedy('model', models)])}"
            )


def find_uncut_parts(config: dict) -> Iterator[str]:
    """Models, layers and tasks that do not say that they can be cut over an axis of the mesh."""
    for axis in (*CUT, "expert"):
        if degree(config, axis) == 1:
            continue
        for group in ("model", "task"):
            for path, part in walk_parts(config[group], group):
                if axis == "expert" and path.split(".")[-1] != "expert":
                    continue
                if not _splits(part, axis):
                    strategies = read_choices("strategy").items()
                    remedies = [_remedy("strategy", [name for name, s in strategies if s.get(axis, 1) == 1])]
                    if path in ("model", "task"):
                        remedies += _others(config, path, partial(_splits, axis=axis))
                    yield (
                        f"{_name(config, path)} does not say that it can be cut over strategy.{axis}="
                        f"{degree(config, axis)}: use {_or(remedies)}"
                    )


def _splits(part: dict, axis: str) -> bool:
    """Whether a part may be cut over an axis; functions, and torch's own layers, are no obstacle."""
    ours = part["_target_"].startswith("triad.") and is_class(part["_target_"])
    return not ours or axis in (get_declared(part, "splits") or ())


def _rows(config: dict, table: list[Impossible], facts: Callable[[dict], dict]) -> Iterator[str]:
    for row in table:
        if row.holds(config):
            yield row.sentence.format(**(config | facts(config)))


def _values(config: dict, group: str, name: str) -> set:
    """What a group says under a name; of a group of several parts, what any of them says."""
    node = config[group]
    nodes = [node] if "_target_" in node else [part for part in node.values() if part]
    values = (get_declared(part, name) for part in nodes)
    return {value if isinstance(value, str | int | float | None) else "set" for value in values} or {None}


def _sentence(config: dict, key: str, group: str, name: str, allowed: tuple, values: set) -> str:
    asking, asked = _name(config, key), _name(config, group)
    if name in config[group]:
        wanted = " or ".join(_spelled(value) for value in allowed if value is not None or len(allowed) == 1)
        remedies = [f"{group}.{name}={_spelled(allowed[0])}"]
        if isinstance(allowed[0], str):
            remedies = [_remedy(group, find_choices(group, name, allowed))]
        said = f"{asking} needs {group}.{name}={wanted}, not {_spelled(*values)}"
    else:
        remedies = [_remedy(group, find_choices(group, name, allowed))]
        has = _phrase(name, tuple(values)) if values - {None} else "does not"
        said = f"{asking} needs {_article(group)} that {_phrase(name, allowed)}; {asked} {has}"
    return f"{said}: use {_or([*remedies, *_others(config, key)])}"


def _others(config: dict, key: str, fits: Callable[[dict], bool] = bool) -> list[str]:
    """Choices in the place of a part that would be refused for no need of their own."""
    group = key.partition(".")[0]
    if "_target_" not in config[group]:
        return [f"leave {key} out"]
    others = [
        name
        for name, node in read_choices(group).items()
        if name != _choice(config, group) and fits(node) and _met(config | {group: node}, node)
    ]
    return [_remedy(group, others)]


def _met(config: dict, node: dict) -> bool:
    needs = [need for _, part in walk_parts(node) for need in (get_declared(part, "needs") or {}).items()]
    found = ((_values(config, *need.split(".")), allowed) for need, allowed in needs)
    return all(values & {*allowed} for values, allowed in found) and not any(
        _hides(config["strategy"], what)
        for _, part in walk_parts(node)
        for what in get_declared(part, "uses") or ()
    )


def _hides(strategy: dict, what: str) -> bool:
    arguments = (get_declared(strategy, "hides") or {}).get(what)
    return arguments is not None and all(strategy.get(name) in values for name, values in arguments.items())


def _remedy(group: str, names: list[str]) -> str:
    """`group=a, b or c`, or "" where there is nothing to choose."""
    shown = names[:SHOWN] + ([f"{len(names) - SHOWN} more"] if len(names) > SHOWN else [])
    listed = " or ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))
    return f"{group}={listed}" if listed else ""


def _or(remedies: list[str]) -> str:
    return ", or ".join(filter(None, remedies)) or "other parts"


def _name(config: dict, key: str) -> str:
    """A part as one types it: model=moe, router=switch, callbacks.ema, or the key of a part of a part."""
    group, _, rest = key.partition(".")
    if not rest:
        return f"{group}={_choice(config, group)}" if "_target_" in config[group] else group
    node = config
    for step in key.split("."):
        node = node[step]
    if "_target_" not in config[group]:
        return key
    if key.split(".")[-1] == "router":
        return f"router={name_choice('router', node)}"
    return f"{key}={node['_target_'].rpartition('.')[2]}"


def _choice(config: dict, group: str) -> str:
    return name_choice(group, config[group])


def _spelled(value: Any) -> str:
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))


def _phrase(name: str, values: tuple) -> str:
    said = " or ".join(sorted(WORDS.get(value, str(value)) for value in values if value is not None))
    return PHRASES.get(name, f"declares {name}={said}").format(said)


def _article(group: str) -> str:
    return group if group in PLURAL else f"{'an' if group[0] in 'aeiou' else 'a'} {group}"
