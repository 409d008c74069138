"""Resuming: a run goes on from its own configuration, which words change; its mathematics only by name."""

import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from triad.checkpoints.folder import (
    BEST,
    LEFTOVER,
    describe_checkpoint,
    find_checkpoint,
    keep_while_reading,
    list_complete,
    read_facts,
    read_step,
)
from triad.config.command_line import key_of
from triad.config.errors import Refusal
from triad.config.identity import AUGMENTATION, PREPARATION, find_changed_mathematics
from triad.config.offers import get_declared
from triad.config.overrides import PLACE
from triad.config.processes import DECIDED
from triad.config.references import escape
from triad.config.schema import convert
from triad.runs.directory import Run, find_run_of
from triad.schedules.refusals import describe_continuation
from triad.storage.durable import replace
from triad.storage.manifest import MANIFEST

DIALS = ("context", "pad_vocab_to_multiple_of", "packing", "shuffle", "seed", "weights")
FIXED = ("model", "tokenizer", "data", *PREPARATION, *AUGMENTATION, *DIALS)
AUTO = "auto"
KEYS = ("resume", "resume.weights_only")


class Resume(NamedTuple):
    """What `resume=` asks for: the run to continue, or to branch from, or with `weights_only` its weights."""

    run: Run
    weights_only: bool
    checkpoint: Path | None = None  # of the run, that a new one begins with: a branch

    def read_base(self, words: list[str]) -> dict[str, Any]:
        """The configuration that words are applied to: with references, and as the machine had been asked."""
        base = self.run.read_written()
        if not isinstance(base, dict):
            raise Refusal(f"{self.run.config_file}: it is no configuration of a run")
        for key, asked in self._read_record("asked").items():
            *above, name = key.split(".")
            node = base
            for step in above:
                node = node.get(step) if isinstance(node, dict) else None
            known = key in DECIDED and isinstance(asked, int | str)
            if known and isinstance(node, dict) and name in node:
                node[name] = asked
        place = {"run_id": escape(self.run.id), "output_dir": escape(str(self.run.path.parent))}
        if self.weights_only:
            return base | place | {"run_id": None, "weights": escape(str(self.checkpoint or self.run))}
        if self.checkpoint:
            return base | place | {"run_id": None}
        for word in words:
            if (key := key_of(word)) in place:
                raise Refusal(f"{word}: resume={self.run} continues the run where it lies; leave out {key}=")
        return base | place

    def read_choices(self) -> dict[str, Any]:
        """The choices of groups that the run was composed of, as far as it says so."""
        return self._read_record("choices")

    def _read_record(self, name: str) -> dict[str, Any]:
        record = self.run.passport()
        found = record.get(name) if isinstance(record, dict) else None
        return found if isinstance(found, dict) else {}


def find_resume(words: list[str]) -> Resume | None:
    """The run that `resume=` names, if any; not for resume=auto, which goes by the name of the run."""
    named = _find_value(words, "resume")
    weights_only, fault = convert(_find_value(words, "resume.weights_only") or False, bool)
    if fault:
        raise Refusal(f"resume.weights_only={_find_value(words, 'resume.weights_only')}: {fault}")
    if named is None or named in ("", "null"):
        if any(key_of(word) == "resume.weights_only" for word in words):
            raise Refusal("resume.weights_only needs a run to take the weights of: resume=outputs/<run_id>")
        return None
    if named == AUTO:
        if not _find_value(words, "run_id") or weights_only:
            raise Refusal("resume=auto continues or starts the run of a name: add run_id=...")
        return None
    path = Path(named)
    if (path / MANIFEST).is_file() and (of := find_run_of(path)):
        return Resume(of, weights_only, path)
    run = Run(path if path.name not in ("", "..") else os.path.abspath(path))  # a name, for `.` and `a/..`
    if not run.exists:
        run.config()  # raises, naming runs that are there
    return Resume(run, weights_only)


def is_auto(words: list[str]) -> bool:
    """Whether `resume=auto` asks to continue the run of a name, or to start it."""
    return _find_value(words, "resume") == AUTO


def drop_resume(words: list[str]) -> list[str]:
    """The words beside `resume=`."""
    return [word for word in words if key_of(word) not in KEYS]


def drop_repeated(words: list[str], run: Run) -> list[str]:
    """Words that no start of the run was given: the others have had their effect."""
    starts = run.passport().get("starts", [])
    given = {word for start in starts for word in start.get("command", [])}
    return [word for word in drop_resume(words) if word not in given and key_of(word) not in PLACE]


def has_trained(run: Run) -> bool:
    """Whether anything that a run trained is kept: a checkpoint, a logged step, a result."""
    return bool(list_complete(run.checkpoints) or run.metrics() or run.result())


def describe_start(run: Run, config: dict, source: Path | None) -> list[str]:
    """What a start makes of a run that is there: the step it begins at, and the learning rate from there on.

    `source` is the checkpoint that a branch begins with.
    """
    kept = [source] if source else list_complete(run.checkpoints)
    if not kept:
        if not run.exists:
            return []
        nothing = "no checkpoint is there" if has_trained(run) else "an earlier start trained nothing"
        return [f"{run}: {nothing}: training starts at step 0"]
    try:
        before = read_facts(kept[-1])["config"]
    except ValueError:  # a damaged one, which whoever loads it tells
        return []
    said = describe_continuation(before, config, read_step(kept[-1]))
    if len(said) > 1:
        steps = config["trainer"]["max_steps"]
        branches = [path for path in kept if not describe_continuation(before, config, read_step(path))]
        said += [
            f"  resume={path} trainer.max_steps={steps}   a branch, before it fell" for path in branches[-1:]
        ]
    return said


def refuse_late_schedule(config: dict, step: int) -> None:
    """Refuse a schedule that begins behind the step at which training does."""
    if (begin := config["scheduler"].get("from", 0)) > step:
        raise Refusal(f"scheduler.from={begin}: training begins at step {step}: use scheduler.from={step}")


def take_checkpoint(source: Path, run: Run) -> None:
    """Give a new run a checkpoint of another, and its text's fingerprints, machine's choices and figures.

    Raises ValueError for a checkpoint that is not whole.
    """
    of = find_run_of(find_checkpoint(source))
    assert of is not None
    run.path.mkdir(parents=True, exist_ok=True)
    for mine, theirs in ((run.data_file, of.data_file), (run.machine_file, of.machine_file)):
        if theirs.is_file():
            shutil.copyfile(theirs, mine)
    if of.metrics_file.is_file():
        names, *rows = of.metrics_file.read_text(encoding="utf-8").splitlines(keepends=True) or [""]
        steps = [row.partition(",")[0] for row in rows]
        until = [
            row
            for row, step in zip(rows, steps, strict=True)
            if step.isdigit() and int(step) <= read_step(source)
        ]
        replace(run.metrics_file, "".join([names, *until]))
    if of.tokenizer.is_dir():
        shutil.copytree(of.tokenizer, run.tokenizer, dirs_exist_ok=True)
    copy = run.checkpoints / source.name
    beside = copy.with_suffix(LEFTOVER)
    with keep_while_reading(source):
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(source, beside)
    beside.rename(copy)


def pin_weights(run: Run, config: dict, overrides: list[str]) -> list[str]:
    """Set `weights` of a new run, in its configuration and its overrides, to one complete checkpoint.

    Of a run that is the best, which is said.
    So a run that is resumed before its first checkpoint starts from the same weights again.
    """
    if config["weights"] is None or run.exists:
        return overrides
    path = find_checkpoint(Path(config["weights"]), BEST)
    config["weights"] = str(path)
    print(f"weights of {describe_checkpoint(path)}", flush=True)
    return [f"weights={config['weights']}" if key_of(word) == "weights" else word for word in overrides]


def refuse_taken(run: Run) -> None:
    """Refuse to start a run where one or a sweep is, in one, or where checkpoints are to go on from."""
    if (above := Run(run.path.parent)).exists:
        raise Refusal(f"{above} is a run, and no folder of runs; choose another name or output_dir")
    if trials := run.trials:
        raise Refusal(f"run_id={run.id}: {run} holds runs, such as {trials[0]}; choose another name")
    if run.exists and has_trained(run):
        raise Refusal(f"run_id={run.id}: {run} exists; resume={run} continues it")
    if list_complete(run.checkpoints):
        raise Refusal(
            f"run_id={run.id}: {run} has checkpoints and no {run.passport_file.name}; remove it or choose"
            " another name"
        )


def refuse_changed(run: Run, config: dict, named: frozenset[str], derived: set[str]) -> None:
    """Refuse to continue a run with mathematics that no word names, or that cannot change.

    `derived` are keys that refer to others.
    """
    if not has_trained(run):
        return
    before = run.config()
    for key in find_changed_mathematics(before, config):
        fixed = key.partition(".")[0] in FIXED and not may_change(key, before)
        by_name = any(key == name or key.startswith(f"{name}.") for name in named)
        if key not in derived and (fixed or not by_name):
            raise Refusal(f"resume={run}: {key} is not what the run was started with; start a new run")


def may_change(key: str, before: dict) -> bool:
    """Whether a key of a run's text is one that its source declares open: in what it keeps may stand more."""
    group, name, part = f"{key}..".split(".")[:3]
    node = before.get(group)
    if group != "data" or not isinstance(node, dict):
        return False
    is_new = name in (get_declared(node, "may_grow") or ()) and part and part not in node[name]
    return bool(is_new) or name in (get_declared(node, "may_change") or ())


def _find_value(words: list[str], key: str) -> str | None:
    return next((word.partition("=")[2] for word in reversed(words) if key_of(word) == key), None)
