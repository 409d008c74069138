"""A run's configuration changed by words: how a run is resumed.

The base is the run's config.yaml, whose references still refer. A choice of a group that is typed takes the
place of its node, as Hydra composes it together with the run's other choices; an overlay counts as its
choices and its keys; then words set keys. Nothing of a run's files, which may be a stranger's, is a word of
Hydra's.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast

import yaml
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from triad.config.compose import (
    compose_unchecked,
    initialize_hydra,
    is_choice,
    read_override,
    read_sources,
    read_written,
)
from triad.config.errors import Refusal
from triad.config.identity import OVERLAYS, leaves
from triad.config.loader import Loader, drop_absent_parts, exchanging_parts
from triad.config.offers import read_own_choices
from triad.config.overrides import quote
from triad.config.provenance import (
    LOADER,
    Chains,
    Source,
    read_override_source,
    read_yaml_source,
    trace_chains,
)
from triad.config.references import refuse_resolvers

NAME = re.compile(r"\w[\w-]*(/\w[\w-]*)*")  # of a choice
Choices = Mapping[str, Any]


class Change(NamedTuple):
    """A configuration after a change: composed, with all choices, and which keys and groups were named."""

    composed: DictConfig
    choices: dict[str, Any]
    named: set[str]
    sources: list[Source]  # what was merged into the base, in order
    replaced: set[str]  # groups whose node is another

    def trace(self, config: dict, before: Chains, pinned: list[str]) -> Chains:
        """Where the values come from; `before` are the base's chains, `pinned` what was typed in effect."""
        kept = {key: chain for key, chain in before.items() if key.partition(".")[0] not in self.replaced}
        sources = [read_override_source(*word.split("=", 1), word) for word in pinned]
        return trace_chains(config, [*self.sources, *sources], kept)


class Flags(NamedTuple):
    """The command line beside `resume=`: words, and those of Hydra's options that are known there."""

    overrides: list[str]
    cfg: str | None
    resolve: bool


def read_flags(words: list[str]) -> Flags:
    """Take apart the command line of a resume. Raises Refusal for an option that has no meaning there."""
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        raise Refusal(f"{message}; beside resume= are known --config-dir DIR and --cfg job [--resolve]")

    parser = get_args_parser()
    parser.error = refuse
    known = vars(parser.parse_intermixed_args(words))
    flags = Flags(**{name: known.pop(name) for name in Flags._fields})
    if known.pop("multirun"):
        refuse("-m starts new runs, and resume= continues one")
    for name, value in known.items():
        if value and name != "run":
            refuse(f"--{name.replace('_', '-')} has no meaning for a run that is continued")
    if flags.cfg not in (None, "job"):
        refuse(f"--cfg {flags.cfg} is Hydra's own configuration")
    return flags


def change(base: dict, choices: Choices, words: list[str]) -> Change:
    """Change a configuration with references. `choices` are those it was composed of, as far as is known."""
    refuse_resolvers(base)
    try:
        composed = OmegaConf.create(base)
    except OmegaConfBaseException as error:
        raise Refusal(f"config.yaml: {str(error).splitlines()[0]}") from None
    with initialize_hydra():
        from hydra.core.global_hydra import GlobalHydra

        loader = cast(Loader, GlobalHydra.instance().config_loader())
        return _change(composed, choices, words, loader)


def _change(composed: DictConfig, choices: Choices, words: list[str], loader: Loader) -> Change:
    from hydra.types import RunMode

    folders, parsed = loader.folders(), loader.parse(words)
    loader.validate_sweep_overrides_legal(parsed, RunMode.RUN, from_shell=True)
    added = {one.package: file for one in parsed if (file := _find_added_part(one, folders))}
    parsed = [one for one in parsed if one.package not in added]
    for override in parsed:
        if override.is_hydra_override() or override.package is not None:
            raise Refusal(f"{override.input_line}: beside resume= only the run's own keys and groups are set")
    typed = {one.key_or_group: one for one in parsed if is_choice(one, folders)}
    chosen: dict[str, Any] = {}
    overlays = [f"{key}/{one.value()}" for key, one in typed.items() if key in OVERLAYS and one.value()]
    for overlay in overlays:
        chosen |= read_own_choices(overlay, folders)
    chosen |= {key: one.value() for key, one in typed.items()}
    replaced = {group for group in chosen if group not in OVERLAYS}
    replaced |= {"router"} if "model" in replaced else set()
    replaced |= {"metrics"} if "task" in replaced else set()
    known = {group: choice for group, choice in choices.items() if _is_known(group, choice, folders)}
    kept = {group: choice for group, choice in known.items() if group not in chosen and group not in replaced}
    asked = [f"{group}={quote(choice)}" for group, choice in kept.items() if choice is not None]
    asked += [one.input_line for key, one in typed.items() if key not in OVERLAYS or one.value()]
    sources: list[Source] = []
    named = {one.key_or_group for one in parsed} | replaced
    if chosen:
        fresh, made = compose_unchecked(asked)
        known |= {group: choice for group, choice in made.items() if "/" not in group}
        _replace_nodes(composed, fresh, replaced)
        sources += [_select(source, replaced) for source in read_sources(asked)]
    for overlay in overlays:
        keys = _merge_overlay(composed, overlay, replaced, folders)
        named |= {key for key, _ in leaves(keys)}
        files = [file for place in folders if (file := place / f"{overlay}.yaml").is_file()]
        sources += [read_yaml_source(file, "", replaced) for file in files[:1]]
    for key, file in added.items():
        OmegaConf.update(composed, key, yaml.load(file.read_text(encoding="utf-8"), Loader=LOADER))
        sources.append(read_yaml_source(file, key, set()))
    named |= added.keys()
    values = [one for one in parsed if one.key_or_group not in typed]
    _set_keys(composed, values)
    _refuse_unused_router(composed, chosen)
    sources += [read_override(one) for one in values if not one.is_delete()]
    return Change(composed, known, named, sources, replaced)


def _find_added_part(override: Any, folders: list[Path]) -> Path | None:
    """The file of a part that is added under a key of its own, as `+data@data.sources.mine=text` does."""
    if not override.is_add() or not override.package or not NAME.fullmatch(str(override.value())):
        return None
    files = (folder / override.key_or_group / f"{override.value()}.yaml" for folder in folders)
    return next((file for file in files if file.is_file()), None)


def _is_known(group: str, choice: Any, folders: list[Path]) -> bool:
    """Whether a choice that a run recorded is one of ours: a file of a group."""
    names = choice if isinstance(choice, list) else [choice]
    if not isinstance(group, str) or not NAME.fullmatch(group) or "/" in group:
        return False
    return choice is None or all(
        isinstance(name, str)
        and NAME.fullmatch(name)
        and any((folder / group / f"{name}.yaml").is_file() for folder in folders)
        for name in names
    )


def _replace_nodes(composed: DictConfig, fresh: DictConfig, groups: set[str]) -> None:
    for group in groups:
        composed.pop(group, None)
        if group in fresh:
            composed[group] = read_written(fresh)[group]


def _merge_overlay(composed: DictConfig, overlay: str, replaced: set[str], folders: list[Path]) -> dict:
    """Merge the keys of an overlay that are not of a group which is replaced; return them."""
    file = next(file for folder in folders if (file := folder / f"{overlay}.yaml").is_file())
    content = yaml.load(file.read_text(encoding="utf-8"), Loader=LOADER) or {}
    keys = {key: value for key, value in content.items() if key != "defaults" and key not in replaced}
    with exchanging_parts():
        composed.merge_with(OmegaConf.create(keys))
    drop_absent_parts(composed)
    return keys


def _set_keys(composed: DictConfig, values: list[Any]) -> None:
    """Apply words that set keys, as Hydra does; a part that is named replaces what stands there."""
    from hydra.errors import ConfigCompositionException

    OmegaConf.set_struct(composed, True)
    for override in values:
        key, is_name = override.key_or_group, NAME.fullmatch(override.input_line.partition("=")[2])
        if is_name and isinstance(override.value(), dict) and OmegaConf.select(composed, key) is not None:
            OmegaConf.update(composed, key, None, merge=False)
    try:
        with exchanging_parts():
            Loader._apply_overrides_to_config(values, composed)
    except OmegaConfBaseException as error:  # as Hydra's own loader does
        raise ConfigCompositionException() from error


def _refuse_unused_router(composed: DictConfig, chosen: dict[str, Any]) -> None:
    if "router" in composed and "${router" not in str(read_written(composed)):
        if "router" in chosen and "model" not in chosen:
            raise Refusal(
                f"router={chosen['router']}: no part of this run's model refers to it; use the key of the"
                f" part, such as model.feedforward.router={chosen['router']}"
            )
        with open_dict(composed):
            del composed["router"]


def _select(source: Source, groups: set[str]) -> Source:
    return {key: origin for key, origin in source.items() if key.partition(".")[0] in groups}
