"""From the command line to a checked, plain configuration: Hydra composes, everything is validated once."""

import re
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, cast
from unicodedata import category

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from triad.config import provenance
from triad.config.command_line import key_of, split_words
from triad.config.directions import find_figures_of_two, find_unknown_monitors
from triad.config.errors import NotComposed, Refusal, one_line
from triad.config.identity import OVERLAYS
from triad.config.locations import CONF, own_folders
from triad.config.messages import explain_error, find_resolver_error
from triad.config.offers import find_group, list_groups
from triad.config.overrides import quote_typed, top_level_keys
from triad.config.own_code import KEY, permitting
from triad.config.processes import resolve_devices
from triad.config.references import changes_size, count_steps, refuse_resolvers
from triad.config.rules import find_impossible, find_missing_parts, refusals
from triad.config.schema import convert, find_faults, suggest
from triad.config.trainer_arguments import find_trainer_faults

EPOCHS = re.compile(r"(\d.*) epochs")  # what stands in trainer.max_steps until they are counted
TIME = re.compile(r"(\d+(?:\.\d+)?)(s|min|h)")
UNITS_S = {"s": 1, "min": 60, "h": 3600}
UNMEASURED = 10**6  # steps of a run whose length is a time: no schedule that is given in steps is longer


def steps_of(tokens: int, *, _root_: DictConfig) -> int:
    """`${steps_of:409_600}`: the steps that train on so many tokens, with the batch and context of the run.

    For comparisons at equal tokens; rounded up. Raises Refusal for a batch whose size changes.
    """
    return count_steps(tokens, _root_.batch, _root_.context)


OmegaConf.register_new_resolver("steps_of", steps_of, replace=True)


def read_time(length: Any) -> float | None:
    """The seconds of trainer.max_steps=5min, 90s or 1.5h; None where it is a number of steps."""
    found = TIME.fullmatch(length) if isinstance(length, str) else None
    return float(found[1]) * UNITS_S[found[2]] or None if found else None


def read_epochs(length: Any) -> float | None:
    """The epochs of a run whose steps are not counted yet; None where they are known, or are a time."""
    found = EPOCHS.fullmatch(length) if isinstance(length, str) else None
    return float(found[1]) if found else None


def is_unmeasured(config: dict) -> bool:
    """Whether the length of a run is a time or epochs, whose steps are not known yet."""
    length = config["trainer"]["max_steps"]
    return bool(read_time(length) or read_epochs(length))


def refuse_unmeasured(config: dict) -> None:
    """Raise Refusal where the length of a run is a time or epochs: only `train.py` finds their steps."""
    if is_unmeasured(config):
        length = config["trainer"]["max_steps"]
        word = f"epochs={config['epochs']:g}" if read_epochs(length) else f"trainer.max_steps={length}"
        raise Refusal(f"{word} is measured by train.py: give trainer.max_steps= as a number of steps here")


def compose(overrides: Sequence[str] | str = ()) -> dict:
    """The resolved and validated configuration for some overrides of conf/train.yaml, as plain Python.

    compose(["model=moe", "batch.size=64"])   or, as it is typed,   compose("model=moe batch.size=64")

    `packages=` and `--config-dir` among them hold for this composition: triad.config.own_code.
    """
    with permitting(split_words(overrides)) as words, initialize_hydra():
        return validate(*compose_unchecked(words))


def compose_parts(overrides: list[str], keys: Collection[str], parts: Sequence[str] = ("data",)) -> dict:
    """Some nodes of a configuration, each checked by itself: whether all fit is for training to ask.

    `parts` are the folders whose tables of what is impossible speak of these nodes alone.
    """
    with initialize_hydra():
        composed, _ = compose_unchecked(overrides)
    config = {key: node for key, node in _resolve(composed).items() if key in keys and node != {}}
    for fault in chain(find_faults(config), *(find_impossible(config, part) for part in parts)):
        raise Refusal(fault)
    return config


def compose_unchecked(overrides: list[str]) -> tuple[DictConfig, dict[str, Any]]:
    """What Hydra, which must be initialised, composes, and the choices that were made by their groups."""
    from hydra import compose

    composed = compose("train", quote_typed(overrides), return_hydra_config=True)
    choices = {**composed.hydra.runtime.choices} | find_lists(overrides)
    with open_dict(composed):
        del composed["hydra"]
    return composed, choices


def compose_written(overrides: list[str]) -> tuple[dict, dict[str, Any]]:
    """What some overrides are composed to, with references and unchecked, and the choices."""
    with initialize_hydra():
        composed, choices = compose_unchecked(overrides)
        return read_written(composed), choices


def find_lists(overrides: list[str]) -> dict[str, list[str]]:
    """Choices of several, such as callbacks=[default,ema], which Hydra keeps no record of."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    words = [word for word in overrides if (CONF / key_of(word)).is_dir() and "=[" in word]
    parsed = OverridesParser.create().parse_overrides(words)
    return {override.key_or_group: [*map(str, cast(list, override.value()))] for override in parsed}


def find_swept(words: list[str], params: Mapping[str, str]) -> dict[str, str]:
    """The words of a command line under -m, and of Hydra's `sweeper.params`, that name several values, and
    their keys as Hydra types them for a job.
    """
    from hydra._internal.utils import get_args_parser
    from hydra.core.override_parser.overrides_parser import OverridesParser

    overrides = get_args_parser().parse_intermixed_args(words).overrides
    asked = [*(f"{key}={value}" for key, value in params.items()), *overrides]
    parsed = OverridesParser.create().parse_overrides(asked)
    return {str(one.input_line): one.get_key_element() for one in parsed if one.is_sweep_override()}


@contextmanager
def initialize_hydra() -> Generator[None]:
    """Have Hydra compose by our loader from conf/, and from one's own folder behind it (--config-dir).

    Raises NotComposed where Hydra cannot compose what it is asked for.
    """
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    from triad.config.loader import Loader, use_loader

    with use_loader(), initialize_config_dir(str(CONF), version_base="1.3"):
        for folder in own_folders:
            cast(Loader, GlobalHydra.instance().config_loader()).add_folder(folder)
        try:
            yield
        except (HydraException, OmegaConfBaseException) as error:
            raise NotComposed(explain_error(error) or one_line(error)) from error


def read_written(composed: DictConfig) -> dict:
    """A composed configuration with its references, as plain Python."""
    return cast(dict, OmegaConf.to_container(composed, resolve=False))


def validate(composed: DictConfig, choices: Mapping[str, Any], steps: int | None = None) -> dict:
    """Resolve, check the top-level keys and every node against its signature, refuse the impossible.

    Sentences name the parts by `choices`, those that Hydra made of each group. `steps` takes the place of
    epochs, or of a time in trainer.max_steps, and where other keys refer to that. Without it these stay there
    after all checks.
    """
    refuse_resolvers(read_written(composed))
    config = as_asked = _resolve(composed)
    typed = length = config["trainer"]["max_steps"]
    if epochs := config.get("epochs"):
        length = f"{epochs} epochs"
        OmegaConf.update(composed, "trainer.max_steps", length)
        as_asked = _resolve(composed)
    if unmeasured := bool(epochs or read_time(length)):
        if changes_size(config["batch"]):
            word = f"epochs={epochs}" if epochs else f"trainer.max_steps={length}"
            raise Refusal(f"{word} needs a batch of one size: use batch=fixed")
        OmegaConf.update(composed, "trainer.max_steps", steps or UNMEASURED)
        config = _resolve(composed)
        config |= {"epochs": None} if epochs and steps else {}
        OmegaConf.update(composed, "trainer.max_steps", typed)
    config = {key: node for key, node in config.items() if node != {}}  # a group of which nothing is chosen
    config = {"callbacks": {}, "logger": {}} | config  # for [], which composes to nothing
    config.pop("router", None)  # models that use it hold a copy
    typed = list_groups()
    groups, known = {*typed.values()}, top_level_keys()
    for key in config:
        if key in OVERLAYS:
            raise Refusal(
                f"{key}={choices.get(key)}: its file begins with `# @package _global_`; add that line"
            )
        if key == KEY:
            raise Refusal(f"{KEY}={config[key]}: it is typed at each start, and no file or run permits it")
        if key not in groups and key not in known:
            raise Refusal(f"{key} is not a key of conf/train.yaml{suggest(key, [*known, *groups])}")
        if key in known:
            config[key], fault = convert(config[key], known[key])
            if fault:
                raise Refusal(f"{key}={config[key]}: {fault}")
    needed = {key for group, key in typed.items() if group == key}  # data/clean may do nothing
    whole = find_misplaced(config), find_missing_parts(config, needed)
    trainer = config["trainer"]  # first: other nodes refer to its keys
    parts = find_faults({"trainer": trainer}), find_trainer_faults(trainer), find_faults(config)
    for fault in chain(*whole, *parts):
        raise Refusal(fault)
    resolve_devices(config)
    of_figures = find_figures_of_two(config), find_unknown_monitors(config)
    for fault in chain(refusals(config, choices), *of_figures):
        raise Refusal(fault)
    if unmeasured and not steps:
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
        key = str(getattr(error, "full_key", ""))
        message = f"{key}: {str(error).splitlines()[0]}"
        if isinstance(error, MissingMandatoryValue):
            message = f"{key}=... is needed{_find_remark(composed, key)}"
        raise Refusal(find_resolver_error(error) or message) from None


def _find_remark(composed: DictConfig, key: str) -> str:
    """What the file of a choice says beside a key that it leaves open, such as where a text may lie."""
    name = key.partition(".")[0]
    folder, target = CONF / find_group(name), OmegaConf.select(composed, f"{name}._target_")
    for file in sorted(folder.glob("*.yaml")):
        source = provenance.read_yaml_source(file, name, set())
        if key in source and (called := source.get(f"{name}._target_")) and called.text == target:
            return f", {source[key].remark}".rstrip(", ")
    return ""


def find_misplaced(config: dict) -> Iterator[str]:
    """One sentence for a name or place of a run that would lie elsewhere than it says, or nowhere."""
    run_id, output_dir = config["run_id"], config["output_dir"]
    for key, text in (("run_id", run_id), ("output_dir", output_dir)):
        if text is None:
            continue
        if not text.strip():
            yield f"{key}={text}: it is empty; name {'a run' if key == 'run_id' else 'a folder'}"
        if any(category(character) in ("Cc", "Cs") for character in text):
            yield f"{key}={text!r}: a name has no control characters and no damaged ones; leave them out"
    if run_id is None:
        return
    if "/" in run_id:
        yield f"run_id={run_id}: a name has no /; output_dir= is the folder that the run lies in"
    if run_id.startswith("."):
        yield f"run_id={run_id}: a name does not begin with a dot, as hidden files do; leave it out"


def trace_origins(config: dict, overrides: list[str]) -> provenance.Chains:
    """Where the values of a configuration composed from `overrides` come from; Hydra must be initialised."""
    sources = read_sources(overrides)
    if read_epochs(length := config["trainer"]["max_steps"]):
        counted = provenance.Origin("counted by train.py", length, refers="epochs")
        sources.append({"trainer.max_steps": counted})
    return provenance.trace_chains(config, sources)


def read_sources(overrides: list[str]) -> list[provenance.Source]:
    """What each file and word sets of what is composed from `overrides`; Hydra must be initialised."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    from triad.config.loader import Loader, find_inapplicable

    loader = cast(Loader, GlobalHydra.instance().config_loader())
    folders = loader.folders()
    files = loader.compute_defaults_list("train", overrides, RunMode.RUN).defaults
    inapplicable = find_inapplicable(files, folders)
    sources = [
        provenance.read_yaml_source(path, file.package or "", inapplicable.get(file.config_path, set()))
        for file in files
        for path in [folder / f"{file.config_path}.yaml" for folder in folders]
        if path.is_file()
    ]
    for override in loader.parse(overrides):
        if not is_choice(override, folders) and not override.is_delete():
            sources.append(read_override(override))
    return sources


def read_override(override: Any) -> provenance.Source:
    """What one parsed word sets."""
    return provenance.read_override_source(override.key_or_group, override.value(), str(override.input_line))


def is_choice(override: Any, folders: list[Path]) -> bool:
    """Whether a parsed word chooses a file of a group, and does not set a key."""
    key = override.key_or_group
    group = any((folder / key).is_dir() for folder in folders)
    return group and not isinstance(override.value(), dict) and not override.is_delete()


def compose_with_origins(overrides: list[str]) -> tuple[dict, provenance.Chains]:
    """The configuration for some overrides of train.py, and where its values come from."""
    with initialize_hydra():
        config = validate(*compose_unchecked(overrides))
        return config, trace_origins(config, quote_typed(overrides))
