"""Where Hydra stops: from the command line to a checked, plain configuration, and from that to objects.

`command` is the door of `train.py`: Hydra composes and everything is validated once, in a parent that imports
no torch and writes the run directory; then one process per rank is started on that directory. A mistake is
answered with one sentence and exit code 2. Nothing else composes or builds.
"""

import atexit
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, NoReturn, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from triad import machine, origins, run
from triad.compare import table
from triad.impossible import refusals
from triad.launch import Interrupted, launch, ranks_are_here
from triad.layout import ranks_here, resolve_devices, threads
from triad.resume import check_free, continued, key_of, started_from
from triad.sentences import CONF, MISTAKE, Refusal, answer, of_resolver, one_line, wait_to_be_ended
from triad.signature import check, fits, suggestion

DIALS = {
    "seed": int,
    "context": int,
    "packed": bool,
    "decay": list[str],
    "tags": list[str],
    "run_id": str | None,
    "output_dir": str,
    "weights": str | None,
}
EXPECTED = (
    ".*does not have many workers.*",  # the windows are memory-mapped: workers would only cost
    ".*isinstance.treespec, LeafSpec.*",  # lightning on a newer torch
)


def steps_of(tokens: int, *, _root_: DictConfig) -> int:
    """`${steps_of:409_600}`: the steps that train on so many tokens, with the batch and context of the run.

    For comparisons at equal tokens; rounded up. Raises Refusal for a batch whose size changes.
    """
    batch, context = _root_.batch, _root_.context
    if not isinstance(tokens, int):
        raise Refusal(f"${{steps_of:{tokens}}}: a whole number of tokens, such as 409_600")
    if {"then", "start"} & batch.keys() or not isinstance(batch.size, int) or batch.size * context < 1:
        raise Refusal(f"${{steps_of:{tokens}}} needs a batch of one size: use batch=fixed")
    return -(-tokens // (batch.size * context))


OmegaConf.register_new_resolver("steps_of", steps_of, replace=True)


def build(node: Any) -> Any:
    """Call what a configuration names, inner calls first; `_partial_: true` makes a factory instead.

    Every target is checked against the allowed packages and its signature before any is imported. Our own few
    lines and not hydra.utils.instantiate: its factories check their target at every call, 0.1 ms (2026-11).
    """
    for fault in check(node):
        raise Refusal(fault)
    return _built(node)


def _built(node: Any) -> Any:
    if isinstance(node, list):
        return [_built(item) for item in node]
    if not isinstance(node, dict):
        return node
    parts = {key: _built(value) for key, value in node.items() if key not in ("_target_", "_partial_")}
    if "_target_" not in node:
        return parts
    module, _, name = node["_target_"].rpartition(".")
    target = getattr(import_module(module), name)
    return partial(target, **parts) if node.get("_partial_") else target(**parts)


def supply(part: Any, offers: dict[str, Any]) -> Any:
    """Call a factory with those of the offers that it has arguments for; others are finished already."""
    if not isinstance(part, partial):
        return part
    asked = signature(part.func).parameters
    return part(**{name: offer for name, offer in offers.items() if name in asked})


def compose(overrides: list[str]) -> dict:
    """The resolved and validated configuration for some overrides of conf/train.yaml, as plain Python."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONF), version_base="1.3"):
        return validated(compose("train", overrides))


def validated(composed: DictConfig) -> dict:
    """Resolve, check the dials and every node against its signature, refuse the impossible."""
    try:
        config = cast(dict, OmegaConf.to_container(composed, resolve=True, throw_on_missing=True))
    except OmegaConfBaseException as error:
        said = f"{getattr(error, 'full_key', '')}: {str(error).splitlines()[0]}"
        raise Refusal(of_resolver(error) or said) from None
    config.pop("router", None)  # a part of models, which hold it where they refer to it
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


def origins_of(config: dict, words: list[str]) -> origins.Chains:
    """Where the values of a configuration composed from `words` come from; Hydra must be at work."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.types import RunMode

    loader = GlobalHydra.instance().config_loader()
    folders = [Path(source.path) for source in loader.get_sources() if source.scheme() == "file"]
    laid = [
        origins.of_file(path, file.package)
        for file in loader.compute_defaults_list("train", words, RunMode.RUN).defaults
        for path in [folder / f"{file.config_path}.yaml" for folder in folders]
        if path.is_file()
    ]
    for word in OverridesParser.create().parse_overrides(words):
        value = word.value()
        choice = (CONF / word.key_or_group).is_dir() and not isinstance(value, dict)
        if not choice and not word.is_delete():
            laid.append(origins.of_word(word.key_or_group, value, str(word.input_line)))
    return origins.chains(config, laid)


def explained(overrides: list[str]) -> tuple[dict, origins.Chains]:
    """The configuration for some words of train.py, and where its values come from."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = validated(compose("train", overrides))
        return config, origins_of(config, overrides)


def command(work: Callable) -> None:
    """The door of train.py: compose, validate, write the run directory, start the ranks, tell the truth."""
    if sys.argv[1:2] == ["--run"]:
        depart(rank(work, Path(sys.argv[2])))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us, who make a sentence of them
    import hydra

    jobs: list[tuple[Path, int]] = []
    raised: list[Exception] = []
    asked = sys.argv[1:]

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
    def main(composed: DictConfig) -> None:
        try:
            jobs.append(_job(composed, work, asked, sweep=multirun))
        except Interrupted as signal:
            raise SystemExit(signal.args[0]) from None  # Hydra would start the next job of a sweep
        except Exception as error:  # out of Hydra's hands, which would print a line of its own
            raised.append(error)

    multirun = any(word in ("-m", "--multirun") for word in asked)
    try:
        sys.argv[1:] = continued(asked)
        main()
    except Exception as error:
        raised.append(error)
    if raised:
        sys.exit(answer(raised[0]))
    if multirun:
        table([path for path, _ in jobs], {path: f"failed ({code})" for path, code in jobs if code})
    depart(next((code for _, code in jobs if code), 0))


def depart(code: int) -> NoReturn:
    """End this process: one of several together with the others, if all went well.

    Of several, without taking the interpreter apart: a thread of gloo's that lets go of its last tensor
    meanwhile aborts the process (torch 2.13; 3 of 32 runs on a busy machine, in spite of a barrier).
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        sys.exit(code)
    if not code:
        distributed.barrier()
        distributed.destroy_process_group()
    atexit._run_exitfuncs()  # loggers have theirs
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def rank(work: Callable[..., None], directory: Path) -> int:
    """One rank's whole life: read the run's configuration, do the work, keep the traceback if it fails."""
    config = run.read_config(directory)
    del config["run_id"], config["output_dir"]  # the door's own
    quieten()
    try:
        work(directory, **config)
    except Exception as error:
        if not _keep_traceback(directory):
            wait_to_be_ended()
        if not isinstance(error, ValueError | OSError | LookupError):
            raise
        sentence = f"error: {one_line(error)}  (traceback: {directory}/error.txt)"
        print(sentence, file=sys.stderr, flush=True)
        return MISTAKE
    return 0


def _keep_traceback(directory: Path) -> bool:
    """Write error.txt, unless another rank has already said what went wrong."""
    try:
        with (directory / "error.txt").open("x", encoding="utf-8") as file:
            file.write(traceback.format_exc())
    except OSError:
        return not (directory / "error.txt").exists()
    return True


def quieten() -> None:
    """Keep Lightning's and torch's remarks about our own choices off the screen; real warnings stay."""
    import lightning.pytorch  # noqa: F401 (it sets its log levels on import)

    # the last says that gloo sends all of a matrix where NCCL sends a part of it
    for name in ("lightning.pytorch", "lightning.fabric", "torch.distributed.tensor._collective_utils"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in EXPECTED:
        warnings.filterwarnings("ignore", message)


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

    typed = [*HydraConfig.get().overrides.task]
    overrides = [word for word in typed if key_of(word) not in ("run_id", "output_dir")]
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
                check_free(directory, config, asked, references(composed))
            words = started_from(directory, config, overrides)
            return prepare(config, words, origins_of(config, typed))

        return directory, _start(config, work, directory, write)
    except Refusal as error:
        if not sweep:
            raise
        return Path(" ".join(overrides).replace("/", "|")), answer(error)


def _start(config: dict, work: Callable, directory: Path, write: Callable[[], Path]) -> int:
    if ranks_are_here():
        from triad.rendezvous import agreed

        return rank(work, agreed(write))
    ranks = ranks_here(config)
    with run.held(directory):
        write()
        return launch([sys.executable, sys.argv[0], "--run", str(directory)], ranks, threads(config))


def prepare(config: dict, overrides: list[str], chains: origins.Chains | None = None) -> Path:
    """Write the run directory; run.json comes last."""
    directory = Path(config["output_dir"], config["run_id"])
    directory.mkdir(parents=True, exist_ok=True)
    run.write_config(directory, config)
    if chains:
        origins.written(directory / "origins.json", chains)
    run.passport(directory, overrides, config, machine.described(config))
    (directory / "error.txt").unlink(missing_ok=True)
    return directory
