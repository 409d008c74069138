"""Where Hydra stops: from the command line to a checked, plain configuration, and from that to objects.

`command` is the door of `train.py`: Hydra composes and everything is validated once, in a parent that imports
no torch and writes the run directory; then one process per rank is started on that directory. `verb` is the
door of `python -m triad.<verb>`. A mistake is answered with one sentence and exit code 2. Nothing else
imports hydra.
"""

import json
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from inspect import Parameter, getdoc
from inspect import signature as own_signature
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from triad import run
from triad.compare import table
from triad.impossible import refusals
from triad.launch import launch, ranks_are_here
from triad.layout import ranks_here, resolve_devices
from triad.signature import check, fits, suggestion

CONF = run.REPOSITORY / "conf"
DIALS = {"seed": int, "context": int, "tags": list[str], "run_id": str | None, "output_dir": str}
EXPECTED = (
    ".*does not have many workers.*",  # the windows are memory-mapped: workers would only cost
    ".*isinstance.treespec, LeafSpec.*",  # lightning on a newer torch
    ".*torch.distributed is disabled, unavailable or uninitialized.*",  # one process, as asked
)
MISTAKE = 2  # the exit code of a user's mistake, argparse's habit
SYSTEM = (
    "strategy",
    "precision",
    "hardware",
    "trainer",
    "callbacks",
    "logger",
    "tags",
    "output_dir",
    "run_id",
)


class Refusal(ValueError):
    """A user's mistake, in one sentence that names the key and a remedy."""


def build(node: Any, **arguments: Any) -> Any:
    """Call what a checked configuration node names; nested nodes first. Raises the callee's own error."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    for fault in check(node):
        raise Refusal(fault)
    try:
        return instantiate(node, **arguments, _convert_="all")
    except InstantiationException as error:
        raise (error.__cause__ or error) from None


def supply(part: Any, offers: dict[str, Any]) -> Any:
    """Call a factory with those of the offers that it has arguments for; others are finished already."""
    if not isinstance(part, partial):
        return part
    asked = own_signature(part.func).parameters
    return part(**{name: offer for name, offer in offers.items() if name in asked})


def compose(overrides: list[str]) -> dict:
    """The resolved and validated configuration for some overrides of conf/train.yaml, as plain Python."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONF), version_base="1.3"):
        return validated(compose("train", overrides))


def read_config(directory: Path) -> dict:
    """The resolved configuration of a run. Raises FileNotFoundError, naming the runs that are there."""
    path = directory / "config.yaml"
    if not path.is_file():
        runs = sorted(found.parent.name for found in directory.parent.glob("*/config.yaml"))
        raise FileNotFoundError(f"{directory}: no run is there{suggestion(directory.name, runs)}")
    return cast(dict, OmegaConf.to_container(OmegaConf.load(path)))


def validated(composed: DictConfig) -> dict:
    """Resolve, check the dials and every node against its signature, refuse the impossible."""
    try:
        config = cast(dict, OmegaConf.to_container(composed, resolve=True, throw_on_missing=True))
    except OmegaConfBaseException as error:
        raise Refusal(f"{getattr(error, 'full_key', '')}: {str(error).splitlines()[0]}") from None
    groups = {path.name for path in CONF.iterdir() if path.is_dir()}
    for key in config:
        if key not in groups and key not in DIALS:
            raise Refusal(f"{key} is not a key of conf/train.yaml{suggestion(key, [*DIALS, *groups])}")
        if key in DIALS:
            config[key], fault = fits(config[key], DIALS[key])
            if fault:
                raise Refusal(f"{key}={config[key]}: {fault}")
    for fault in check({"trainer": config["trainer"]} | config):  # first: other nodes refer to its keys
        raise Refusal(fault)
    resolve_devices(config)
    for fault in refusals(config):
        raise Refusal(fault)
    return config


def command(work: Callable) -> None:
    """The door of train.py: compose, validate, write the run directory, start the ranks, tell the truth."""
    if sys.argv[1:2] == ["--run"]:
        sys.exit(rank(work, Path(sys.argv[2])))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us, who make a sentence of them
    import hydra

    jobs: list[tuple[Path, int]] = []
    raised: list[Exception] = []
    asked = sys.argv[1:]

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
    def main(composed: DictConfig) -> None:
        try:
            jobs.append(_job(composed, work, asked, sweep=multirun))
        except Exception as error:  # out of Hydra's hands, which would print a line of its own
            raised.append(error)

    multirun = any(word in ("-m", "--multirun") for word in asked)
    try:
        sys.argv[1:] = continued(asked)
        main()
    except Exception as error:
        raised.append(error)
    if raised:
        sys.exit(_answer(raised[0]))
    if multirun:
        table([path for path, _ in jobs], {path: f"failed ({code})" for path, code in jobs if code})
    sys.exit(next((code for _, code in jobs if code), 0))


def verb(function: Callable) -> None:
    """The door of `python -m triad.<verb>`: key=value words become arguments, the rest overrides."""
    if {"-h", "--help"} & {*sys.argv[1:]}:
        print(getdoc(function), "\n\n", _usage(function), sep="")
        return
    try:
        function(**_words(function, sys.argv[1:]))
    except Exception as error:
        sys.exit(_answer(error))


def rank(work: Callable, directory: Path) -> int:
    """One rank's whole life: read the run's configuration, do the work, keep the traceback if it fails."""
    config = {
        key: value for key, value in read_config(directory).items() if key not in ("run_id", "output_dir")
    }
    quieten()
    try:
        work(directory, **config)
    except (ValueError, OSError, LookupError) as error:
        if os.environ.get("RANK", "0") == "0":
            (directory / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
            print(
                f"error: {_one_line(error)}  (traceback: {directory}/error.txt)", file=sys.stderr, flush=True
            )
        return MISTAKE
    return 0


def quieten() -> None:
    """Keep Lightning's and torch's remarks about our own choices off the screen; real warnings stay."""
    import lightning.pytorch  # noqa: F401 (it sets its log levels on import)

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in EXPECTED:
        warnings.filterwarnings("ignore", message)


def continued(words: list[str]) -> list[str]:
    """`resume=outputs/<run_id>` stands for what that run was started with; words beside it come on top."""
    found = [word.partition("=")[2] for word in words if word.startswith("resume=")]
    if not found or found[-1] in ("", "null"):
        return words
    directory = Path(found[-1])
    read_config(directory)  # or say that no run is there
    new = [word for word in words if not word.startswith("resume=")]
    named = {_key(word) for word in new}
    old = [word for word in json.loads((directory / "overrides.json").read_text()) if _key(word) not in named]
    return [*old, *new, f"run_id={directory.name}", f"output_dir={directory.parent}"]


def changed_mathematics(old: Any, new: Any, path: str = "") -> list[str]:
    """Keys outside the hardware and logging axes in which two configurations differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [key for key in {**old, **new} if path or key not in SYSTEM]
        found = [changed_mathematics(old.get(key), new.get(key), f"{path}.{key}".lstrip(".")) for key in keys]
        return [key for keys in found for key in keys]
    return [] if old == new else [path]


def references(node: Any, path: str = "") -> set[str]:
    """Keys whose value is a reference to another key: they change when that one does."""
    found = set()
    for key in node if OmegaConf.is_dict(node) else ():
        inner = f"{path}.{key}".lstrip(".")
        found |= {inner} if OmegaConf.is_interpolation(node, key) else references(node._get_node(key), inner)
    return found


def _job(composed: DictConfig, work: Callable, asked: list[str], sweep: bool) -> tuple[Path, int]:
    """One job of Hydra's: its directory and exit code. In a sweep a mistake does not stop the rest."""
    from hydra.core.hydra_config import HydraConfig

    overrides = [
        word for word in HydraConfig.get().overrides.task if _key(word) not in ("run_id", "output_dir")
    ]
    try:
        config = validated(composed)
        if sweep:
            config["run_id"] = run.sweep_id([word for word in overrides if word not in asked], config)
        elif not config["run_id"]:
            config["run_id"] = run.new_id(HydraConfig.get().runtime.choices["model"])
        directory = Path(config["output_dir"], config["run_id"])
        if sweep and run.result(directory):
            print(f"{directory}: finished before, skipped", flush=True)
            return directory, 0

        def write() -> Path:
            if not sweep:
                _check_free(directory, config, asked, references(composed))
            return prepare(config, overrides)

        return directory, _start(config, work, write)
    except Refusal as error:
        if not sweep:
            raise
        return Path(" ".join(overrides)), _answer(error)


def _start(config: dict, work: Callable, write: Callable[[], Path]) -> int:
    if ranks_are_here():
        from triad.rendezvous import agreed

        return rank(work, agreed(write))
    directory, ranks = write(), ranks_here(config)
    threads = config["hardware"]["threads"] or max(1, (os.cpu_count() or 1) // ranks)
    return launch([sys.executable, sys.argv[0], "--run", str(directory)], ranks, threads)


def _check_free(directory: Path, config: dict, asked: list[str], derived: set[str]) -> None:
    """A run's name is given once; resuming needs the same mathematics, but for what is asked by name."""
    if not (directory / "config.yaml").exists():
        return
    if not any(word.startswith("resume=") for word in asked):
        raise Refusal(f"run_id={directory.name}: {directory} exists; resume={directory} continues it")
    named = {_key(word) for word in asked}
    for key in changed_mathematics(read_config(directory), config):
        fixed = key.partition(".")[0] in ("model", "tokenizer", "data", "context", "seed")
        if key not in derived and (fixed or not any(key.startswith(name) for name in named)):
            raise Refusal(f"resume={directory}: {key} is not what the run was started with; start a new run")


def prepare(config: dict, overrides: list[str]) -> Path:
    """Write the run directory."""
    directory = Path(config["output_dir"], config["run_id"])
    directory.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(config), directory / "config.yaml")
    run.passport(directory, overrides)
    (directory / "error.txt").unlink(missing_ok=True)
    return directory


def _answer(error: Exception) -> int:
    """Print one sentence for a user's mistake and return the exit code; anything else keeps its traceback."""
    from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException

    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        sentence = f"{group}={name} does not exist{suggestion(name, list(error.options))}"
    elif isinstance(error, ConfigCompositionException) and isinstance(
        error.__cause__, OmegaConfBaseException
    ):
        sentence = _unknown_key(error.__cause__)
    elif isinstance(error, HydraException | OmegaConfBaseException):
        sentence = _unknown_group(_one_line(error))
    elif isinstance(error, ValueError | OSError):
        sentence = _one_line(error)
    else:
        raise error
    if os.environ.get("RANK", "0") == "0":  # under torchrun every rank finds the same mistake
        print(f"error: {sentence}", file=sys.stderr)
    return MISTAKE


def _unknown_key(cause: OmegaConfBaseException) -> str:
    """Hydra says where the lookup stopped; name the whole key and the nearest that exist."""
    key, node = cause.full_key or cause.key, cause.parent_node
    while node is not None and node._get_parent() is not None:
        node = node._get_parent()
    known = [name for name in _keys(node) if not name.startswith("hydra.")] if node is not None else []
    leaf = str(key).rpartition(".")[2]
    near = get_close_matches(str(key), known, 2, cutoff=0.75)
    leaves = get_close_matches(leaf, {name.rpartition(".")[2] for name in known}, 1)
    near += [name for name in known if name.rpartition(".")[2] in leaves and name not in near]
    return f"{key} does not exist" + (f"; did you mean {' or '.join(near[:3])}?" if near else "")


def _unknown_group(sentence: str) -> str:
    """Hydra's 'Could not override X. No match in the defaults list' with the nearest group."""
    groups = [path.name for path in CONF.iterdir() if path.is_dir()]
    word = sentence.partition("'")[2].partition("'")[0].partition("=")[0]
    return sentence + (suggestion(word, groups) if "Could not override" in sentence else "")


def _keys(node: Any, prefix: str = "") -> list[str]:
    found = []
    for key in node if OmegaConf.is_dict(node) else ():
        found.append(f"{prefix}{key}")
        child = node._get_node(key)
        if OmegaConf.is_dict(child) and not child._is_none() and not child._is_interpolation():
            found += _keys(child, f"{prefix}{key}.")
    return found


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0].partition("@")[0]


def _words(function: Callable, words: list[str]) -> dict[str, Any]:
    """key=value words as arguments of a verb; what it does not know goes to `overrides`, if it takes them."""
    arguments: dict[str, Any] = {}
    parameters = own_signature(function).parameters
    rest = []
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or key not in parameters or key == "overrides":
            rest.append(word)
            continue
        arguments[key], fault = fits(None if value == "null" else value, parameters[key].annotation)
        if fault:
            raise Refusal(f"{word}: {fault}")
    if "overrides" in parameters:
        arguments["overrides"] = rest
    elif rest:
        raise Refusal(f"{rest[0]} is not understood{suggestion(_key(rest[0]), list(parameters))}")
    for name, parameter in parameters.items():
        if parameter.default is Parameter.empty and name not in arguments:
            raise Refusal(f"{name}=... is needed")
    return arguments


def _usage(function: Callable) -> str:
    shown = [
        f"{p.name}={'...' if p.default is Parameter.empty else p.default}"
        for p in own_signature(function).parameters.values()
        if p.name != "overrides"
    ]
    return f"usage: python -m {function.__module__} " + " ".join(shown)
