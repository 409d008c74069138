"""Where each value of a configuration comes from: a file and line, a word of the command line, a default.

A configuration is laid up of files in order and of words on top; whatever sets a key last wins. So the chain
of a key is what holds, and behind it what that stands over, newest first.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from triad.config.identity import leaves
from triad.config.locations import CONF
from triad.config.processes import AXES
from triad.config.schema import signature

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
REFERENCE = re.compile(r"\$\{(\.*)([\w.]+)\}")
WORD = "command line"
SETTLED = (  # keys that the machine or the clock may settle when a run is started
    *("run_id", "weights", "trainer.accelerator", "trainer.devices", "trainer.num_nodes"),
    *(f"strategy.{axis}" for axis in AXES),
)


class Origin(NamedTuple):
    """What one place says of a key: `said` as it stands there, a comment beside it, a key it refers to."""

    where: str
    said: str
    remark: str = ""
    refers: str = ""


Source = dict[str, Origin]  # what one file or word sets, by key
Chains = dict[str, list[Origin]]


def of_file(path: Path, package: str) -> Source:
    """What a YAML file sets, below the key `package`."""
    text = path.read_text(encoding="utf-8")
    root = yaml.compose(text, Loader=LOADER)
    name = path.relative_to(CONF.parent) if path.is_relative_to(CONF) else path
    found: Source = {}
    for key, node in _scalars(root, package) if isinstance(root, yaml.MappingNode) else ():
        line = text.splitlines()[node.start_mark.line]
        said = _said(node, text)
        origin = Origin(f"{name}:{node.start_mark.line + 1}", said, line.partition(" #")[2].strip())
        found[key] = origin._replace(refers=_referred(key, said))
    return found


def of_word(key: str, value: Any, word: str) -> Source:
    """What a word of the command line sets; a value of several keys sets each of them."""
    pairs = leaves(value, f"{key}.") if isinstance(value, dict) and value else [(key, value)]
    return {
        at: Origin(f"{WORD}: {word}", (said := _spelled(one)), refers=_referred(at, said))
        for at, one in pairs
    }


def chains(config: dict, sources: list[Source]) -> Chains:
    """The chain of every key of a configuration, and of the arguments that its calls leave to their defaults.

    `sources` are in the order in which they were laid on each other.
    """
    held = dict(leaves(config))
    found = {key: list(_chain(key, sources)) for key in held}
    for key in SETTLED:
        value = held.get(key)
        if value is not None and (not found[key] or found[key][0].said != str(value)):
            found[key].insert(0, Origin("settled at the start", str(value)))
    for key in [origin.refers for chain in found.values() for origin in chain if origin.refers]:
        found.setdefault(key, list(_chain(key, sources)))  # of a router, which stands where it is referred to
    return found | {key: [origin] for key, origin in _defaults(config)}


def write_origins(path: Path, chains: Chains) -> None:
    """Keep chains in a file, a key a line."""
    lines = (f"{json.dumps(key)}: {json.dumps([*map(_spare, chain)])}" for key, chain in chains.items())
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def read_origins(path: Path) -> Chains:
    """The chains that a file keeps."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    return {key: [Origin(**origin) for origin in chain] for key, chain in kept.items()}


def _spare(origin: Origin) -> dict[str, str]:
    """Without what is not there."""
    return {name: value for name, value in origin._asdict().items() if value or name == "said"}


def _chain(key: str, sources: list[Source]) -> Iterator[Origin]:
    """What the sources say of a key or of a node above it, the last first."""
    parts = key.split(".")
    holders = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    for source in reversed(sources):
        holder = next((holder for holder in holders if holder in source), None)
        if holder is None:
            continue
        origin, below = source[holder], key.removeprefix(holder)
        if origin.refers:
            yield origin._replace(refers=origin.refers + below)
        elif not below:
            yield origin
        if below:  # what was there before went with the whole node
            return


def _scalars(node: yaml.MappingNode, path: str) -> Iterator[tuple[str, yaml.Node]]:
    """Every key of a file that holds a value and not further keys; not Hydra's own list of defaults."""
    for name, value in node.value:
        key = f"{path}.{name.value}".lstrip(".")
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _scalars(value, key)
        elif name.value != "defaults":
            yield key, value


def _said(node: yaml.Node, text: str) -> str:
    if isinstance(node, yaml.ScalarNode):
        return node.value or '""'
    return " ".join(text[node.start_mark.index : node.end_mark.index].split())


def _spelled(value: Any) -> str:
    return str(value) if isinstance(value, str) else json.dumps(value)


def _referred(key: str, said: str) -> str:
    """The key that ${key} refers to; ${.name} stands beside its own key, each further dot one level above."""
    found = REFERENCE.fullmatch(said)
    if not found:
        return ""
    dots, name = found.groups()
    above = key.split(".")[: -len(dots)] if dots else []
    return ".".join([*above, name])


def _defaults(config: Any, path: str = "") -> Iterable[tuple[str, Origin]]:
    """Arguments of named calls that are not given: their classes' own defaults."""
    for name, value in config.items() if isinstance(config, dict) else ():
        yield from _defaults(value, f"{path}{name}.")
    if isinstance(config, dict) and "_target_" in config:
        target = config["_target_"]
        for name, parameter in signature(target).parameters.items():
            if name not in config and parameter.default is not None:
                yield f"{path}{name}", Origin(f"the default of {target}", parameter.default)
