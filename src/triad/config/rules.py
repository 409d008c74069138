"""What cannot be combined: refused before any process starts, in one sentence with a remedy.

A part says beside its code what it needs of the others and what it offers, hides or replaces; the rules below
match them and find the remedy among the choices of conf/. What takes arithmetic, such as heads that do not
divide, is a row of a table in <part>/refusals.py. Declared are

    needs      {"model.sees": ("past",)}: the values that properties of other parts may have; an argument of
               a part is a property, too
    uses       ("gradients",): what it looks at or changes, beyond what training does
    hides      {"weights": {"stage": (3,)}}: what a strategy keeps from others, if its arguments are these
    replaces   "weights": what it stands in for; only one part may
    sees       token (where it says nothing) < past < both sides: what a layer's output depends on
    encloses   ("sources",): arguments whose parts it meets the needs of
    splits     ("tensor", "context"): axes of a mesh over which a model, layer or task may be cut;
               "documents": each document of a row is computed as if it stood in a row of its own
"""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import partial, reduce
from operator import or_
from typing import Any, NamedTuple

from triad.config.identity import OVERLAYS
from triad.config.offers import (
    find_choices,
    find_group,
    get_declared,
    name_choice,
    name_key,
    read_choices,
    read_own_choices,
    walk_needing_parts,
    walk_parts,
)
from triad.config.processes import degree, resolve_degrees
from triad.config.refusals import TABLE, Impossible, facts, tables
from triad.config.schema import is_class

SHOWN = 4  # choices that a remedy lists
MODEL_AXES = (
    "tensor",
    "context",
    "pipeline",
)  # that cut a model; the others deal rows, copies or experts
SEPARATED = ("documents", "best_fit")  # packings whose documents do not see each other
LIBRARIES = ("torch.", "lightning.")
DICTIONARIES = ("callbacks", "logger", "metrics")  # groups of several parts

PHRASES = {  # declared properties as verbs, for sentences
    "sees": "sees {}",
    "yields": "yields {}",
    "sizes": "has {} size",
    "again": "reads other rows each step",
    "by_element": "updates each number by itself",
    "adaptive": "divides by the size of the gradient",
    "averages": "keeps an average of the weights",
    "has_unknown": "has an unknown token",
    "predicts": "predicts {}",
    "segmentations": "knows {} segmentations of a text",
    "shows": "validates with the {}",
    "stays": "keeps its rate after a warm-up",
}
WORDS = {"past": "the past", "window": "a window of the past", "source": "a source"}  # values, in a sentence


class Fault(NamedTuple):
    """A reason why a configuration cannot work: what tells it from others, and what makes its sentence."""

    key: tuple[str, ...]
    sentence: Callable[[], str]


def refusals(config: dict, choices: Mapping[str, str]) -> Iterator[str]:
    """One sentence for each reason why a configuration cannot work, the first to be mended first.

    `choices` are those that it was composed of, by group: what a person types.
    """
    try:
        for fault in _find_faults(config | {"choices": choices}):
            yield fault.sentence()
    except KeyError as error:
        yield f"{error.args[0]} is missing: a key that was removed, or that another part in its place needs"


def find_missing_parts(config: dict, groups: set[str]) -> Iterator[str]:
    """A sentence for each group, or part of a group of several, in whose place no part stands."""
    for group in sorted(groups - {*OVERLAYS, "router"}):
        node = config.get(group, {} if group in DICTIONARIES else None)
        several = group in DICTIONARIES and isinstance(node, dict)
        parts = {f"{group}.{name}": part for name, part in node.items()} if several else {group: node}
        for key, part in parts.items():
            if not (isinstance(part, dict) and "_target_" in part) and not (several and part is None):
                remedy = f"leave {key} out" if several else f"use {_remedy(group, [*read_choices(group)])}"
                yield f"{key}={_spelled(part)}: a part stands here, which has a _target_: {remedy}"


def find_impossible(config: dict, part: str) -> Iterator[str]:
    """What the table of one part refuses."""
    for module in tables():
        if module.__name__.split(".")[-2] == part:
            for fault in _apply_table(config, module.TABLE, getattr(module, "facts", dict)):
                yield fault.sentence()


def _find_faults(config: dict) -> Iterator[Fault]:
    yield from _apply_table(config, TABLE, facts)
    yield from find_unmet_needs(config)
    yield from find_hidden_uses(config)
    yield from find_double_replacements(config)
    yield from find_views_of_the_future(config)
    yield from find_uncut_parts(config)
    for module in tables():
        yield from _apply_table(config, module.TABLE, getattr(module, "facts", dict))


def _apply_table(config: dict, table: list[Impossible], facts: Callable[[dict], dict]) -> Iterator[Fault]:
    for row in table:
        if row.holds(config):
            yield Fault(("row", row.why), partial(row.write, config, facts))


def find_unmet_needs(config: dict) -> Iterator[Fault]:
    """Needs of parts that the others do not meet."""
    for key, part in walk_needing_parts(config):
        for need, allowed in (get_declared(part, "needs") or {}).items():
            group, _, name = need.partition(".")
            if not _values(config, group, name) & {*allowed}:
                fault = ("need", key.partition(".")[0], need)
                yield Fault(fault, partial(_unmet, config, fault, key, need, allowed))


def find_hidden_uses(config: dict) -> Iterator[Fault]:
    """Parts that use what the strategy hides."""
    for key, part in walk_parts(config):
        for what in get_declared(part, "uses") or ():
            if (arguments := _hides(config["strategy"], what)) is not None:
                fault = ("hidden", key, what)
                yield Fault(fault, partial(_hidden, config, fault, key, what, arguments))


def find_double_replacements(config: dict) -> Iterator[Fault]:
    """Several parts that stand in for the same."""
    replacing: dict[str, list[str]] = {}
    for key, part in walk_parts(config):
        if what := get_declared(part, "replaces"):
            replacing.setdefault(what, []).append(key)
    for what, keys in replacing.items():
        if len(keys) > 1:
            yield Fault(("double", what), partial(_doubled, what, keys))


def find_views_of_the_future(config: dict) -> Iterator[Fault]:
    """Layers that compare all tokens of a sequence, in a model that is not to see those behind a token."""
    if get_declared(config["model"], "sees") in ("both sides", None):
        return
    for path, part in walk_parts(config["model"], "model"):
        if path != "model" and get_declared(part, "sees") == "both sides":
            fault = ("future", path)
            yield Fault(fault, partial(_foreseeing, config, fault, path))


def find_uncut_parts(config: dict) -> Iterator[Fault]:
    """Models, layers and tasks that do not say that an axis of the mesh, or documents, may cut them."""
    cut = [axis for axis in (*MODEL_AXES, "expert") if degree(config, axis) > 1]
    for axis in cut + ["documents"] * (config["packing"] in SEPARATED):
        for group in ("model", "task"):
            for path, part in walk_parts(config[group], group):
                if not _splits(path, part, axis):
                    fault = ("uncut", path, axis)
                    yield Fault(fault, partial(_uncut, config, fault, path, axis))


def _splits(path: str, part: dict, axis: str) -> bool:
    """Whether a part may be cut over an axis; functions, and torch's own layers, are no obstacle.

    Over the axis of experts only what makes them is cut: it declares that its parameters are theirs.
    """
    if part["_target_"].startswith(LIBRARIES) or not is_class(part["_target_"]):
        return True
    if axis != "expert":
        return axis in (get_declared(part, "splits") or ())
    if path.split(".")[-1] != "expert":
        return True
    roles = get_declared(part, "roles") or {}
    return "expert" in roles.values() and axis in (get_declared(part, "splits") or ())


def _hides(strategy: dict, what: str) -> dict | None:
    """The arguments by which a strategy hides something, or None if it does not."""
    arguments = (get_declared(strategy, "hides") or {}).get(what)
    holds = arguments is not None and all(strategy.get(name) in values for name, values in arguments.items())
    return arguments if holds else None


def _values(config: dict, group: str, name: str) -> set:
    """What a group says under a name; of a group of several parts, what any of them says."""
    node = config.get(group) or {}
    nodes = [node] if "_target_" in node else [part for part in node.values() if isinstance(part, dict)]
    values = (get_declared(part, name) for part in nodes)
    return {value if isinstance(value, str | int | float | None) else "set" for value in values} or {None}


def _unmet(config: dict, fault: tuple, key: str, need: str, allowed: tuple) -> str:
    group, _, name = need.partition(".")
    asking, asked, values = name_choice(config, key), name_choice(config, group), _values(config, group, name)
    fitting = _remedy(group, _mending(config, fault, group, find_choices(group, name, allowed)))
    if name in (config.get(group) or {}) and name not in PHRASES:
        wanted = " or ".join(_spelled(value) for value in allowed if value is not None or len(allowed) == 1)
        given = f"{asking} needs {group}.{name}={wanted}, not {_spelled(*values)}"
        remedy = fitting if isinstance(allowed[0], str) else f"{group}.{name}={_spelled(allowed[0])}"
    elif group in DICTIONARIES:
        given, remedy = (
            f"{asking} needs a part of {group} that {_phrase(name, allowed)}, and none does",
            fitting,
        )
    else:
        has = _phrase(name, tuple(values)) if values - {None} else "does not"
        given = f"{asking} needs {_article(group)} that {_phrase(name, allowed)}; {asked} {has}"
        remedy = fitting or _remedy(key.partition(".")[0], _find_fitting(config, key, need))
    return f"{given}: {_use([remedy, _others(config, fault, key)])}"


def _find_fitting(config: dict, key: str, need: str) -> list[str]:
    """Of a group of several parts, the choices that have the same need, and have it met."""
    group, asked = key.partition(".")[0], need.partition(".")
    if group not in DICTIONARIES:
        return []
    values = _values(config, asked[0], asked[2])
    return [
        name
        for name, parts in read_choices(group).items()
        if any(values & {*(get_declared(part, "needs") or {}).get(need, ())} for part in parts.values())
    ]


def _hidden(config: dict, fault: tuple, key: str, what: str, arguments: dict) -> str:
    strategy = config["strategy"]
    hiding = " ".join(f"strategy.{argument}={strategy[argument]}" for argument in arguments)
    usual = read_choices("strategy").get(config["choices"]["strategy"], {})
    changed = [
        f"strategy.{argument}={usual[argument]}"
        for argument, values in arguments.items()
        if argument in usual and usual[argument] not in values
    ]
    remedies = [*changed, _others(config, fault, "strategy"), _others(config, fault, key)]
    hiding = hiding or name_choice(config, "strategy")
    return f"{name_choice(config, key)} uses the {what}, which {hiding} hides: {_use(remedies)}"


def _doubled(what: str, keys: list[str]) -> str:
    return f"{' and '.join(keys)} each put something in the place of the {what}: use one of them"


def _foreseeing(config: dict, fault: tuple, path: str) -> str:
    is_router = path.split(".")[-1] == "router"
    routers = _mending(config, fault, path, [*read_choices("router")]) if is_router else []
    models = _mending(config, fault, "model", find_choices("model", "sees", ("both sides",)))
    remedies = [_remedy(name_key(config, path), routers), _remedy("model", models)]
    return (
        f"{name_choice(config, path)} compares all tokens of a sequence, so {name_choice(config, 'model')} "
        f"would see the future: {_use(remedies)}"
    )


def _uncut(config: dict, fault: tuple, path: str, axis: str) -> str:
    if axis == "documents":
        what, remedies = (
            f"stops at the ends of documents, as packing={config['packing']} asks",
            ["packing=windows"],
        )
    else:
        what = f"can be cut over strategy.{axis}={degree(config, axis)}"
        remedies = [_remedy("strategy", _mending(config, fault, "strategy", [*read_choices("strategy")]))]
    if path in ("model", "task"):
        remedies.append(_others(config, fault, path))
    elif path.split(".")[-1] == "router":
        remedies.append(
            _remedy(name_key(config, path), _mending(config, fault, path, [*read_choices("router")]))
        )
    declare = f'if it can, add "{axis}" to its splits and run triad verify'
    return f"{name_choice(config, path)} does not say that it {what}: {_use(remedies)}; {declare}"


def _others(config: dict, fault: tuple, key: str) -> str:
    """What else may stand in the place of a part."""
    group = key.partition(".")[0]
    if group in DICTIONARIES:
        return f"leave {key} out"
    typed = find_group(group)
    others = [name for name in read_choices(typed) if name != config["choices"].get(typed)]
    return _remedy(typed, _mending(config, fault, group, others))


def _mending(config: dict, fault: tuple, key: str, names: list[str]) -> list[str]:
    """Those of a group's choices that mend a fault, in the place of a part, and bring no other."""
    group = "router" if key.split(".")[-1] == "router" else find_group(key)
    if group in DICTIONARIES:
        return []
    left = _fault_keys(config) - {fault}
    return [name for name in names if _fault_keys(_choose(config, key, group, name)) <= left]


def _choose(config: dict, key: str, group: str, name: str) -> dict:
    """A configuration with a choice of a group in the place of a part, and with what that choice brings."""
    own = read_own_choices(f"{group}/{name}")
    if group == "task" and "metrics" not in config["choices"]:  # it brings its own, if any
        own = {"metrics": []} | own
    for other, choice in own.items():
        if isinstance(choice, str):
            config = _replaced(config, other, read_choices(other)[choice])
        elif other not in config["choices"]:
            parts = [read_choices(other)[one] for one in choice]
            config = config | {other: deepcopy(reduce(or_, parts, {}))}
    return _replaced(config, key, read_choices(group)[name])


def _fault_keys(config: dict) -> set[tuple]:
    found: set[tuple] = set()
    try:
        for fault in _find_faults(config):
            found.add(fault.key)
    except (ArithmeticError, LookupError, TypeError, ValueError):  # of a value that another fault explains
        found.add(("unfinished",))
    return found


def _replaced(config: dict, key: str, part: dict) -> dict:
    """A configuration with another part, of one process or of as many as there are."""
    *above, name = key.split(".")
    changed = config | {group: deepcopy(config[group]) for group in above[:1]}
    node = changed
    for step in above:
        node = node[step]
    node[name] = deepcopy(part)
    resolve_degrees(changed)
    return changed


def _remedy(group: str, names: list[str]) -> str:
    """`group=a, b or c`, or "" where there is nothing to choose."""
    shown = names[:SHOWN] + ([f"{len(names) - SHOWN} more"] if len(names) > SHOWN else [])
    listed = " or ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))
    return f"{group}={listed}" if listed else ""


def _use(remedies: list[str]) -> str:
    said = ", or ".join(filter(None, remedies)) or "other parts"
    return said if said.startswith("leave ") else f"use {said}"


def _spelled(value: Any) -> str:
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))


def _phrase(name: str, values: tuple) -> str:
    said = " or ".join(sorted(WORDS.get(value, str(value)) for value in values if value is not None))
    return PHRASES.get(name, f"declares {name}={said}").format(said)


def _article(group: str) -> str:
    return group if group == "data" else f"{'an' if group[0] in 'aeiou' else 'a'} {group}"
