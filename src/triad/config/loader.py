"""How configurations are merged, where that is not Hydra's way.

Hydra merges a node into what stands at its key, key by key, and files in the order of conf/train.yaml's
defaults. Five rules are ours, for files and for words of the command line alike:

    a part is exchanged whole     a node with another `_target_` takes nothing from the part before it but
                                  `_partial_`, which belongs to the place; the same `_target_` merges as usual
    a part is named by its group  `model.feedforward.router=switch` is the node of conf/router/switch.yaml
    an argument has its default   `model.tied=true` sets an argument that no file sets, without Hydra's `+`
    an overlay sets what it made  what experiment/ or debug/ set in a group of which they make a choice goes
                                  with that choice: where another one stands, which was typed or is of a later
                                  overlay, it does not apply
    an overlay sets what is there what it sets of data, and makes no choice of them, does not apply where the
                                  source has no such argument

Hydra and OmegaConf have no hook for this. What is replaced here is private to them, which is why
pyproject.toml holds both to one minor version; it is put back when a configuration has been composed.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra._internal import hydra as hydra_internal
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.override_parser.types import OverrideType
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.basecontainer import BaseContainer

from triad.config.errors import Refusal
from triad.config.identity import OVERLAYS
from triad.config.locations import CONF
from triad.config.neighbours import answer
from triad.config.offers import read_choices, read_own_choices
from triad.config.rules import DICTIONARIES
from triad.config.schema import read_signature, suggest

SOURCE = "data"


class Loader(ConfigLoaderImpl):
    """Hydra's loader with these rules."""

    def load_configuration(self, *arguments: Any, **named: Any) -> DictConfig:
        with exchanging_parts():
            return super().load_configuration(*arguments, **named)

    def add_folder(self, folder: Path) -> None:
        """Look for files in a further folder, too, behind conf/: what --config-dir does."""
        place, behind = f"file://{folder}", SearchPathQuery(provider="schema")
        self.config_search_path.prepend(provider="command-line", path=place, anchor=behind)
        self.repository = ConfigRepository(config_search_path=self.config_search_path)

    def folders(self) -> list[Path]:
        """Where files are looked for, first to last."""
        return [Path(source.path) for source in self.get_sources() if source.scheme() == "file"]

    def parse(self, overrides: list[str]) -> list[Any]:
        """Hydra's overrides for some words, with the nodes of choices in the place of their names."""
        return self._parse_overrides_and_create_caching_repo(None, overrides)[0]

    def _parse_overrides_and_create_caching_repo(self, config_name: Any, overrides: list[str]) -> Any:
        parsed, repository = super()._parse_overrides_and_create_caching_repo(config_name, overrides)
        for override in parsed:
            _refuse_missing(override)
            above, _, group = override.key_or_group.rpartition(".")
            choices = read_choices(group) if above and not override.is_hydra_override() else {}
            if choices and isinstance(name := override._value, str):
                if name not in choices:
                    raise Refusal(
                        f"{override.input_line}: {group}={name} does not exist{suggest(name, list(choices))}"
                    )
                override._value = choices[name]
        return parsed, repository

    def _compose_config_from_defaults_list(self, defaults: list[Any], repo: Any) -> DictConfig:
        self.inapplicable = find_inapplicable(defaults, self.folders())
        self.arguments = find_arguments(defaults)
        config = super()._compose_config_from_defaults_list(defaults, repo)
        drop_absent_parts(config)
        return config

    def _load_single_config(self, default: Any, repo: Any) -> Any:
        loaded = super()._load_single_config(default, repo)
        for group in self.inapplicable.get(default.config_path, ()):
            loaded.config.pop(group, None)
        if default.config_path in self.inapplicable and self.arguments is not None:
            own = read_own_choices(default.config_path, self.folders())
            set_here = {*(loaded.config.get(SOURCE) or {})} if SOURCE not in own else set()
            for key in set_here - self.arguments:
                del loaded.config[SOURCE][key]
        return loaded


def _refuse_missing(override: Any) -> None:
    """Raise Refusal where an override leaves out a part or a key that each run has."""
    group, *inner = override.key_or_group.split(".")
    choices = read_choices(group) if (CONF / group).is_dir() else {}
    if override.is_hydra_override() or group in OVERLAYS:
        return
    if not override.is_delete():
        swept = override.is_sweep_override()  # of several choices: each job is asked about its own
        if choices and not inner and not swept and not isinstance(override.value(), str | list | dict):
            if ours := answer(group, str(override.value())):
                raise Refusal(f"{override.input_line}: here that is {ours}")
            raise Refusal(f"{override.input_line}: {group} is chosen by name{suggest('', list(choices))}")
    elif not inner and group not in DICTIONARIES:
        raise Refusal(f"{override.input_line}: a run needs it: {group}={next(iter(choices), '...')}")


@contextmanager
def use_loader() -> Generator[None]:
    """Within, Hydra composes by Loader."""
    original = hydra_internal.ConfigLoaderImpl
    hydra_internal.ConfigLoaderImpl = Loader  # ty: ignore[invalid-assignment]
    try:
        yield
    finally:
        hydra_internal.ConfigLoaderImpl = original


def drop_absent_parts(config: DictConfig) -> None:
    """Remove what an overlay sets of a callback or logger that is not there."""
    for group in DICTIONARIES:
        for name, part in [*(config.get(group) or {}).items()]:
            if isinstance(part, DictConfig) and "_target_" not in part:
                del config[group][name]


def find_inapplicable(defaults: list[Any], folders: list[Path]) -> dict[str, set[str]]:
    """For each overlay among the files of a configuration the groups of which another choice stands."""
    stands = {
        file.override_key: file.config_path.rpartition("/")[2] for file in defaults if file.override_key
    }
    return {
        file.config_path: {
            group
            for group, choice in read_own_choices(file.config_path, folders).items()
            if isinstance(choice, str) and stands.get(group) != choice
        }
        for file in defaults
        if file.config_path.partition("/")[0] in OVERLAYS
    }


def find_arguments(defaults: list[Any]) -> set[str] | None:
    """The arguments of the source that is chosen among the files of a configuration, if it is one of ours."""
    chosen = [file.config_path.rpartition("/")[2] for file in defaults if file.override_key == SOURCE]
    source = read_choices(SOURCE).get(chosen[-1]) if chosen else None
    return {*read_signature(source["_target_"]).parameters} if source else None


@contextmanager
def exchanging_parts() -> Generator[None]:
    """Within, nodes are merged and overrides applied by these rules."""
    original, original_apply = BaseContainer._map_merge, ConfigLoaderImpl._apply_overrides_to_config

    def apply(overrides: list[Any], config: DictConfig) -> None:
        for override in overrides:
            if override.type == OverrideType.CHANGE and _is_argument(override.key_or_group, config):
                override.type = OverrideType.FORCE_ADD
            original_apply([override], config)

    def merge(dest: Any, src: Any) -> None:
        old, new = _find_target(dest), _find_target(src)
        if not new or old == new or not (old or dest._is_none()):
            return original(dest, src)
        with flag_override(dest, "struct", False):
            partial = None if dest._is_none() else dest.get("_partial_")
            dest._set_value({} if partial is None else {"_partial_": partial})
            original(dest, src)

    BaseContainer._map_merge = staticmethod(merge)  # ty: ignore[invalid-assignment]
    ConfigLoaderImpl._apply_overrides_to_config = staticmethod(apply)  # ty: ignore[invalid-assignment]
    try:
        yield
    finally:
        BaseContainer._map_merge = staticmethod(original)
        ConfigLoaderImpl._apply_overrides_to_config = staticmethod(original_apply)


def _is_argument(key: str, config: DictConfig) -> bool:
    """Whether a key that a configuration has not is an argument, with a default, of the part above it.

    Raises Refusal where that is no part that this start may call.
    """
    above, _, name = key.rpartition(".")
    node = OmegaConf.select(config, above, throw_on_missing=False) if above else None
    target = node.get("_target_") if isinstance(node, DictConfig) and name not in node else None
    if not isinstance(target, str):
        return False
    try:
        parameter = read_signature(target).parameters.get(name)
    except LookupError as error:
        raise Refusal(f"{above}._target_: {error}") from None
    return parameter is not None and not parameter.required


def _find_target(node: Any) -> str | None:
    """The `_target_` of a plain node; those of Hydra's own configuration have a type."""
    if not isinstance(node, DictConfig) or node._metadata.object_type not in (None, dict):
        return None
    return None if node._is_none() or node._is_missing() or node._is_interpolation() else node.get("_target_")
