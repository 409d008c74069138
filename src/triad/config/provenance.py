"""Where each value of a configuration comes from: a file and line, an override, a default.

A configuration is merged from files in order, then from the overrides of the command line; the last source
that sets a key wins. The chain of a key is the list of its origins, newest first: the first one holds.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from triad.config.errors import Refusal, one_line
from triad.config.identity import leaves
from triad.config.locations import CONF
from triad.config.processes import DECIDED
from triad.config.schema import read_signature
from triad.storage.durable import replace

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
REFERENCE = re.compile(r"\$\{(\.*)([\w.]+)\}")
WORD = "command line"
SETTLED = ("run_id", "weights", *DECIDED)  # keys that may be settled when a run is started


class Origin(NamedTuple):
    """What one place sets a key to: the text there, a comment beside it, the key that it refers to."""

    where: str
    text: str
    remark: str = ""
    refers: str = ""


Source = dict[str, Origin]  # what one file or override sets, by key
Chains = dict[str, list[Origin]]


def read_yaml_source(path: Path, package: str, without: set[str]) -> Source:
    """What a YAML file sets, below the key `package`, but for some of its groups."""
    text = path.read_text(encoding="utf-8")
    root = yaml.compose(text, Loader=LOADER)
    name = path.relative_to(CONF.parent) if path.is_relative_to(CONF) else path
    found: Source = {}
    for key, number, node in _walk_values(root, package) if isinstance(root, yaml.MappingNode) else ():
        line = text.splitlines()[number]
        value_text = _quote_node(node, text)
        origin = Origin(f"{name}:{number + 1}", value_text, line.partition(" #")[2].strip())
        if key.partition(".")[0] not in without:
            found[key] = origin._replace(refers=_find_reference(key, value_text))
    return found


def read_override_source(key: str, value: Any, word: str) -> Source:
    """What an override sets; a value of several keys sets each of them."""
    pairs = leaves(value, f"{key}.") if isinstance(value, dict) and value else [(key, value)]
    return {
        at: Origin(
            f"{WORD}: {word}", (value_text := _format_value(one)), refers=_find_reference(at, value_text)
        )
        for at, one in pairs
    }


def trace_chains(config: dict, sources: list[Source], before: Chains | None = None) -> Chains:
    """The chain of every key of a configuration, and of the arguments that its calls leave to their defaults.

    `sources` are in the order in which they were merged; `before` are the chains of the base.
    """
    values, sources, before = dict(leaves(config)), _forget_exchanged(sources), before or {}
    chains = {key: [*_trace_chain(key, sources), *before.get(key, ())] for key in values}
    for key in SETTLED:
        value = values.get(key)
        if value is not None and (not chains[key] or chains[key][0].text != str(value)):
            chains[key].insert(0, Origin("settled at the start", str(value)))
    for key in [origin.refers for chain in chains.values() for origin in chain if origin.refers]:
        chains.setdefault(  # `router` itself is not in the configuration
            key, [*_trace_chain(key, sources), *before.get(key, ())]
        )
    return chains | {key: [origin] for key, origin in _walk_defaults(config)}


def _forget_exchanged(sources: list[Source]) -> list[Source]:
    """Sources without what they set of parts that a later one exchanges for another: triad.config.loader.

    A word that sets `_target_` alone leaves the other keys.
    """
    found: list[Source] = []
    targets: dict[str, str] = {}
    for source in sources:
        for key, origin in source.items():
            node, _, leaf = key.rpartition(".")
            if leaf != "_target_":
                continue
            alone = origin.where.partition("=")[0].endswith("._target_")
            if targets.get(node, origin.text) != origin.text and not alone:
                gone, kept = f"{node}.", f"{node}._partial_"
                found = [
                    {key: one for key, one in earlier.items() if not key.startswith(gone) or key == kept}
                    for earlier in found
                ]
            targets[node] = origin.text
        found.append(source)
    return found


def write_chains(path: Path, chains: Chains) -> None:
    """Write chains to a file, one key per line."""
    lines = (f"{json.dumps(key)}: {json.dumps([*map(_to_json, chain)])}" for key, chain in chains.items())
    replace(path, "{\n" + ",\n".join(lines) + "\n}\n")


def read_chains(path: Path) -> Chains:
    """The chains that `write_chains` wrote. Raises Refusal if the file holds others."""
    try:
        chains = json.loads(path.read_text(encoding="utf-8"))
        return {
            key: [Origin(**{"text": one.pop("said")} | one) for one in chain] for key, chain in chains.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Refusal(f"{path}: damaged: it holds no origins ({one_line(error)})") from error


def _to_json(origin: Origin) -> dict[str, str]:
    """An origin without empty fields; files call its text `said`."""
    return {"where": origin.where, "said": origin.text} | {
        name: value for name in ("remark", "refers") if (value := getattr(origin, name))
    }


def _trace_chain(key: str, sources: list[Source]) -> Iterator[Origin]:
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


def _walk_values(node: yaml.MappingNode, path: str) -> Iterator[tuple[str, int, yaml.Node]]:
    """Each key of a file that holds a value and not further keys, its line from 0, and the value.

    Hydra's own list of defaults is none.
    """
    for name, value in node.value:
        key = f"{path}.{name.value}".lstrip(".")
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _walk_values(value, key)
        elif name.value != "defaults":
            yield key, name.start_mark.line, value


def _quote_node(node: yaml.Node, text: str) -> str:
    if isinstance(node, yaml.ScalarNode):
        return node.value or '""'
    value_text = text[node.start_mark.index : node.end_mark.index]
    if isinstance(node, yaml.SequenceNode) and not node.flow_style:  # of several lines
        return json.dumps(yaml.load(" " * node.start_mark.column + value_text, Loader=LOADER))
    return " ".join(value_text.split())


def _format_value(value: Any) -> str:
    return str(value) if isinstance(value, str) else json.dumps(value)


def _find_reference(key: str, value_text: str) -> str:
    """The key that ${key} refers to; ${.name} stands beside its own key, each further dot one level above."""
    found = REFERENCE.fullmatch(value_text)
    if not found:
        return ""
    dots, name = found.groups()
    above = key.split(".")[: -len(dots)] if dots else []
    return ".".join([*above, name])


def _walk_defaults(config: Any, path: str = "") -> Iterable[tuple[str, Origin]]:
    """Arguments of named calls that are not given: their classes' own defaults."""
    for name, value in config.items() if isinstance(config, dict) else ():
        yield from _walk_defaults(value, f"{path}{name}.")
    if isinstance(config, dict) and "_target_" in config:
        target = config["_target_"]
        for name, parameter in read_signature(target).parameters.items():
            if name not in config and parameter.default is not None:
                yield f"{path}{name}", Origin(f"the default of {target}", parameter.default)
