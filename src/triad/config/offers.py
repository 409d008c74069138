"""What parts declare in their classes, and which choices of conf/ declare a given value.

A part is a node of a configuration that names a class or function. A declaration is a plain value in the body
of that class; it is read from source, so that neither torch nor the part is imported. An argument of the node
is a declaration too and comes first: `precision.name` of a precision, like `model.sees` of a model.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from triad.config.identity import OVERLAYS
from triad.config.locations import CONF, conf_folders
from triad.config.provenance import LOADER
from triad.config.schema import read_attribute, read_constant

Parts = Iterator[tuple[str, dict]]
FIRST = ("fsdp", "ddp", "parallel", "labelled", "masked_lm")  # of the choices that a remedy lists


def walk_parts(node: Any, path: str = "") -> Parts:
    """Every named call of a configuration, with its dotted key, outer ones first."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from walk_parts(value, f"{path}.{key}".lstrip("."))
    elif isinstance(node, list):
        for item in node:
            yield from walk_parts(item, path)


def walk_needing_parts(node: Any, path: str = "") -> Parts:
    """The parts whose needs other parts of a configuration are to meet: not those that a part encloses."""
    parts = [*walk_parts(node, path)]
    enclosed = [
        f"{key}.{name}.".lstrip(".") for key, part in parts for name in get_declared(part, "encloses") or ()
    ]
    return ((key, part) for key, part in parts if not key.startswith((*enclosed,)))


def get_declared(part: dict, name: str) -> Any:
    """The value that a part declares under a name: its argument, else its class's; None if there is none."""
    target = part.get("_target_", "")
    if name in part or not target:
        return part.get(name)
    if target.startswith("torch.optim."):
        return read_constant("triad.optim.refusals.OFFERS").get(target, {}).get(name)
    return read_attribute(target, name)


def list_groups() -> dict[str, str]:
    """The groups of conf/ as they are typed, such as data/clean, and the key that each sets."""
    folders = (path.relative_to(CONF) for path in CONF.rglob("*") if path.is_dir())
    return {f.as_posix(): f.name for f in folders if len(f.parts) == 1 or f.parts[0] not in OVERLAYS}


def find_group(key: str) -> str:
    """The group that sets a key, as it is typed: data/clean of clean."""
    return next((group for group, name in list_groups().items() if name == key), key)


def read_choices(group: str) -> dict[str, Any]:
    """The nodes that the files of a group set, by the name of the choice.

    The one that conf/train.yaml takes comes first, then FIRST, and last those with a size in their name.
    """
    return _read_choices(group, conf_folders())


@cache
def _read_choices(group: str, folders: tuple[Path, ...]) -> dict[str, Any]:
    names = sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})
    usual = _load(CONF / "train.yaml")["defaults"]
    order = sorted(names, key=lambda name: (name not in FIRST, any(map(str.isdigit, name))))
    order.sort(key=lambda name: {group: name} not in usual)
    return {name: _node(group, name, folders) for name in order}


def find_choices(group: str, name: str, allowed: tuple) -> list[str]:
    """The choices of a group that declare one of the allowed values."""
    return [choice for choice, node in read_choices(group).items() if get_declared(node, name) in allowed]


def name_choice(config: dict, key: str) -> str:
    """A part as one types it: model=moe, router=switch, or by its key and class what is not of a file.

    `config["choices"]` are the choices that Hydra made; a part that was exchanged since is not of its choice.
    """
    target = _find_target(config, key)
    if target is None or "_target_" not in config[key.partition(".")[0]]:
        return key
    word = name_key(config, key)
    alike = _find_alike(find_group(key.rpartition(".")[2]), target)
    chosen = config["choices"].get(word, next(iter(alike), None))
    return f"{word}={chosen}" if chosen in alike else f"{key} ({target.rpartition('.')[2]})"


def name_key(config: dict, key: str) -> str:
    """What one types to choose another part by name.

    The router of model=moe is a choice of its own, and typed router=switch; one that a model's file has
    itself is typed by its key, model.feedforward.router=switch.
    """
    group, target = find_group(key.rpartition(".")[2]), _find_target(config, key)
    is_choice = target is not None and config["choices"].get(group) in _find_alike(group, target)
    return group if is_choice else key


def _find_alike(group: str, target: str) -> list[str]:
    """The choices of a group that call the same."""
    return [name for name, node in read_choices(group).items() if node.get("_target_") == target]


def _find_target(config: dict, key: str) -> str | None:
    node: Any = config
    for step in key.split("."):
        node = node.get(step) if isinstance(node, dict) else None
    return node.get("_target_") if isinstance(node, dict) else None


def read_own_choices(file: str, folders: Iterable[Path] | None = None) -> dict[str, Any]:
    """The choices that an overlay such as debug/tiny makes, by their group; {} where no folder has it."""
    found = _find_file(file, folders or conf_folders())
    defaults = (_load(found) or {}).get("defaults", []) if found else []
    made = (pair for entry in defaults if isinstance(entry, dict) for pair in entry.items())
    own = {key.removeprefix("override /"): choice for key, choice in made if key.startswith("override /")}
    return {key.partition("@")[0]: choice for key, choice in own.items()}  # metrics@_global_.metrics


def _node(group: str, name: str, folders: tuple[Path, ...]) -> dict:
    """What one file sets for its group, over the files of the group that it builds upon."""
    file = _find_file(f"{group}/{name}", folders)
    node = (_load(file) if file else None) or {}
    if not isinstance(node, dict):
        return {}
    found: dict = {}
    for other in node.pop("defaults", []):
        if isinstance(other, str) and _find_file(f"{group}/{other}", folders):
            found |= _node(group, other, folders)
    return found | (node[group] if isinstance(node.get(group), dict) and "_target_" not in node else node)


def _find_file(name: str, folders: Iterable[Path]) -> Path | None:
    return next((file for folder in folders if (file := folder / f"{name}.yaml").is_file()), None)


def _load(file: Path) -> Any:
    return yaml.load(file.read_text(encoding="utf-8"), Loader=LOADER)
