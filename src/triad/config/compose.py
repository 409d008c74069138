"""From the command line to a checked, plain configuration: Hydra composes, everything is validated once."""

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from triad.config import provenance
from triad.config.directions import find_unknown_monitors
from triad.config.errors import Refusal
from triad.config.locations import CONF, TRAIN
from triad.config.messages import find_resolver_error
from triad.config.offers import list_groups
from triad.config.processes import resolve_devices
from triad.config.rules import refusals
from triad.config.schema import convert, find_faults, read_script_signature, suggest

TIME = re.compile(r"(\d+(?:\.\d+)?)(s|min|h)")
UNITS_S = {"s": 1, "min": 60, "h": 3600}
UNMEASURED = 10**6  # steps of a run whose length is a time: no schedule that is given in steps is longer
PLACE = {"run_id": str | None, "output_dir": str}  # the path of the run directory


def top_level_keys() -> dict[str, Any]:
    """The top-level keys of conf/train.yaml with their types: the arguments of `train`, and PLACE."""
    arguments = read_script_signature(TRAIN, "train").parameters
    return {name: argument.type for name, argument in arguments.items() if name != "run"} | PLACE


def steps_of(tokens: int, *, _root_: DictConfig) -> int:
    """`${steps_of:409_600}`: the steps that train on so many tokens, with the batch and context of the run.

    For comparisons at equal tokens; rounded up. Raises Refusal for a batch whose size changes.
    """
    batch, context = _root_.batch, _root_.context
    if not isinstance(tokens, int):
        raise Refusal(f"${{steps_of:{tokens}}}: a whole number of tokens, such as 409_600")
    if _changes_size(batch) or not isinstance(batch.size, int) or batch.size * context < 1:
        raise Refusal(f"${{steps_of:{tokens}}} needs a batch of one size: use batch=fixed")
    return -(-tokens // (batch.size * context))


OmegaConf.register_new_resolver("steps_of", steps_of, replace=True)


def read_time(length: Any) -> float | None:
    """The seconds of trainer.max_steps=5min, 90s or 1.5h; None where it is a number of steps."""
    found = TIME.fullmatch(length) if isinstance(length, str) else None
    return float(found[1]) * UNITS_S[found[2]] or None if found else None


def refuse_time(config: dict) -> None:
    """Raise Refusal where the length of a run is a time: only `train.py` measures how many steps that is."""
    if read_time(length := config["trainer"]["max_steps"]):
        raise Refusal(f"trainer.max_steps={length} is measured by train.py: give a number of steps here")


def compose(overrides: list[str]) -> dict:
    """The resolved and validated configuration for some overrides of conf/train.yaml, as plain Python."""
    with _initialize_hydra():
        return validate(*compose_unchecked(overrides))


def compose_unchecked(overrides: list[str]) -> tuple[DictConfig, dict[str, str]]:
    """What Hydra, which must be initialised, composes, and the choices that it made by their groups."""
    from hydra import compose

    composed = compose("train", overrides, return_hydra_config=True)
    choices = composed.hydra.runtime.choices
    with open_dict(composed):
        del composed["hydra"]
    return composed, dict(choices)


@contextmanager
def _initialize_hydra() -> Generator[None]:
    from hydra import initialize_config_dir

    from triad.config.loader import use_loader

    with use_loader(), initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def validate(composed: DictConfig, choices: Mapping[str, str], steps: int | None = None) -> dict:
    """Resolve, check the top-level keys and every node against its signature, refuse the impossible.

    Sentences name the parts by `choices`, those that Hydra made of each group. `steps` takes the place of a
    time in trainer.max_steps, and where other keys refer to that. Without it the time stays there after all
    checks.
    """
    config = as_asked = _resolve(composed)
    if time := read_time(length := config["trainer"]["max_steps"]):
        if _changes_size(config["batch"]):
            raise Refusal(f"trainer.max_steps={length} needs a batch of one size: use batch=fixed")
        OmegaConf.update(composed, "trainer.max_steps", steps or UNMEASURED)
        config = _resolve(composed)
        OmegaConf.update(composed, "trainer.max_steps", length)
    config = {key: node for key, node in config.items() if node != {}}  # a group of which nothing is chosen
    config = {"callbacks": {}, "logger": {}} | config  # for [], which composes to nothing
    config.pop("router", None)  # models that use it hold a copy
    groups = {*list_groups().values()}
    known = top_level_keys()
    for key in config:
        if key not in groups and key not in known:
            raise Refusal(f"{key} is not a key of conf/train.yaml{suggest(key, [*known, *groups])}")
        if key in known:
            config[key], fault = convert(config[key], known[key])
            if fault:
                raise Refusal(f"{key}={config[key]}: {fault}")
    for fault in find_faults({"trainer": config["trainer"]} | config):  # first: other nodes refer to its keys
        raise Refusal(fault)
    resolve_devices(config)
    for fault in chain(refusals(config, choices), find_unknown_monitors(config)):
        raise Refusal(fault)
    if time and not steps:
        _put_back(length, as_asked, config)
    return config


def _put_back(length: str, as_asked: dict, config: dict) -> None:
    for key, value in as_asked.items():
        if value == length:
            config[key] = length
        elif isinstance(value, dict) and isinstance(config.get(key), dict):
            _put_back(length, value, config[key])


def _resolve(composed: DictConfig) -> dict:
    try:
        return cast(dict, OmegaConf.to_container(composed, resolve=True, throw_on_missing=True))
    except OmegaConfBaseException as error:
        message = f"{getattr(error, 'full_key', '')}: {str(error).splitlines()[0]}"
        raise Refusal(find_resolver_error(error) or message) from None


def _changes_size(batch: Any) -> bool:
    return bool({"then", "start"} & batch.keys())


def trace_origins(config: dict, overrides: list[str]) -> provenance.Chains:
    """Where the values of a configuration composed from `overrides` come from; Hydra must be initialised."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    from triad.config.loader import Loader, find_inapplicable

    loader = cast(Loader, GlobalHydra.instance().config_loader())
    folders = [Path(source.path) for source in loader.get_sources() if source.scheme() == "file"]
    files = loader.compute_defaults_list("train", overrides, RunMode.RUN).defaults
    inapplicable = find_inapplicable(files)
    sources = [
        provenance.read_yaml_source(path, file.package or "", inapplicable.get(file.config_path, set()))
        for file in files
        for path in [folder / f"{file.config_path}.yaml" for folder in folders]
        if path.is_file()
    ]
    for override in loader.parse(overrides):
        value = override.value()
        choice = (CONF / override.key_or_group).is_dir() and not isinstance(value, dict)
        if not choice and not override.is_delete():
            source = provenance.read_override_source(override.key_or_group, value, str(override.input_line))
            sources.append(source)
    return provenance.trace_chains(config, sources)


def compose_with_origins(overrides: list[str]) -> tuple[dict, provenance.Chains]:
    """The configuration for some overrides of train.py, and where its values come from."""
    with _initialize_hydra():
        config = validate(*compose_unchecked(overrides))
        return config, trace_origins(config, overrides)


def find_references(node: Any, path: str = "") -> set[str]:
    """Keys whose value is a reference to another key: they change when that one does."""
    found = set()
    for key in node if OmegaConf.is_dict(node) else ():
        inner = f"{path}.{key}".lstrip(".")
        refers = OmegaConf.is_interpolation(node, key)
        found |= {inner} if refers else find_references(node._get_node(key), inner)
    return found
