"""Resuming: repeat the overrides of a run; its mathematics changes only where an override names it."""

from pathlib import Path

from triad.checkpoints.folder import find_checkpoint
from triad.config.command_line import key_of
from triad.config.errors import Refusal
from triad.config.identity import find_changed_mathematics
from triad.config.schema import convert
from triad.runs.directory import Run

FIXED = (
    *("model", "tokenizer", "data", "clean", "privacy", "dedup", "contamination"),
    *("context", "packed", "seed", "weights"),
)


def expand_resume(overrides: list[str]) -> list[str]:
    """Replace `resume=outputs/<run_id>` by the overrides of that run; other overrides come after them.

    With resume.weights_only=true these are the overrides of a new run, which starts from that run's weights.
    """
    if (directory := find_resumed(overrides)) is None:
        return overrides
    run = Run(directory)
    run.config()  # raises if no run is there
    new = [word for word in overrides if key_of(word) not in ("resume", "resume.weights_only")]
    named = {key_of(word) for word in new}
    if starts_new_run(overrides):
        named |= {"weights"}
        new += [f"weights={directory}"] + (
            [] if "output_dir" in named else [f"output_dir={directory.parent}"]
        )
    # another choice of a group leaves the keys of the old choice behind
    old = [word for word in run.overrides() if not {key_of(word), key_of(word).partition(".")[0]} & named]
    return (
        [*old, *new]
        if starts_new_run(overrides)
        else [*old, *new, f"run_id={directory.name}", f"output_dir={directory.parent}"]
    )


def find_resumed(overrides: list[str]) -> Path | None:
    """The run that `resume=` names, if any."""
    found = [word.partition("=")[2] for word in overrides if key_of(word) == "resume"]
    if found and found[-1] not in ("", "null"):
        return Path(found[-1])
    if any(key_of(word) == "resume.weights_only" for word in overrides):
        raise Refusal("resume.weights_only needs a run to take the weights of: resume=outputs/<run_id>")
    return None


def starts_new_run(overrides: list[str]) -> bool:
    """Whether `resume.weights_only=true` asks for a new run from a run's weights."""
    found = [word.partition("=")[2] for word in overrides if key_of(word) == "resume.weights_only"]
    value, fault = convert(found[-1] if found else False, bool)
    if fault:
        raise Refusal(f"resume.weights_only={found[-1]}: {fault}")
    return value


def pin_weights(run: Run, config: dict, overrides: list[str]) -> list[str]:
    """Set `weights` of a new run, in its configuration and its overrides, to one complete checkpoint.

    So a run that is resumed before its first checkpoint starts from the same weights again.
    """
    if config["weights"] is None or run.exists:
        return overrides
    config["weights"] = str(find_checkpoint(Path(config["weights"])))
    return [f"weights={config['weights']}" if key_of(word) == "weights" else word for word in overrides]


def check_free(run: Run, config: dict, asked: list[str], derived: set[str]) -> None:
    """Refuse a run_id that exists, and a resume that changes mathematics which no override names."""
    if not run.exists:
        return
    if find_resumed(asked) is None or starts_new_run(asked):
        raise Refusal(f"run_id={run.id}: {run} exists; resume={run} continues it")
    named = {key_of(word) for word in asked}
    for key in find_changed_mathematics(run.config(), config):
        fixed = key.partition(".")[0] in FIXED
        if key not in derived and (fixed or not any(key.startswith(name) for name in named)):
            raise Refusal(f"resume={run}: {key} is not what the run was started with; start a new run")
