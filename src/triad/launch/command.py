"""How `train.py` starts: Hydra composes the configuration, a parent validates it and starts the ranks.

The parent imports no torch. It writes the run directory and starts one process per rank on it. A mistake is
answered with one sentence and exit code 2. Outside of triad.config only this module imports Hydra.
"""

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from triad.analysis.table import print_runs
from triad.checkpoints.folder import list_complete, read_step
from triad.config.build import build
from triad.config.command_line import key_of
from triad.config.compose import (
    UNMEASURED,
    compose_written,
    find_lists,
    find_swept,
    is_unmeasured,
    read_epochs,
    read_time,
    read_written,
    trace_origins,
    validate,
)
from triad.config.errors import Interrupted, Refusal
from triad.config.help import format_keys, format_train_help
from triad.config.locations import CONF
from triad.config.messages import DIVERGED, FAULT, explain_failure, report_error, report_interrupt
from triad.config.neighbours import answer_flag
from triad.config.overlays import find_overlaid
from triad.config.overrides import PLACE, quote, quote_typed, replace_overrides
from triad.config.own_code import repeat_flags, take_own_code
from triad.config.processes import (
    count_threads,
    describe_single_process,
    ranks_are_here,
    ranks_here,
    refuse_unknown_launcher,
)
from triad.config.provenance import Chains, read_chains
from triad.config.references import find_references
from triad.config.slow_imports import hasten_imports
from triad.launch.multirun import Multirun, refuse_other
from triad.launch.rank import exit_together, run_rank
from triad.launch.resume import (
    Resume,
    describe_start,
    drop_repeated,
    drop_resume,
    find_resume,
    has_trained,
    is_auto,
    pin_weights,
    refuse_changed,
    refuse_late_schedule,
    refuse_taken,
    take_checkpoint,
)
from triad.launch.run_length import configure_count, configure_probe, finish_probe, prepare_probe, record_pace
from triad.launch.supervisor import FINISHED, launch_ranks, read_grace
from triad.runs.directory import Run, make_run_id
from triad.runs.signals import signals
from triad.runs.start import prepare_run
from triad.storage.locks import hold

LENGTH = "trainer.max_steps"


class Job(NamedTuple):
    """A configuration to start: composed of which choices and words, and where its values come from.

    `continued` is the run that it continues, or branches from, and `named` are the keys and groups that words
    changed of it.
    """

    script: str  # that its ranks start anew
    composed: DictConfig
    choices: Mapping[str, Any]
    typed: list[str]
    trace: Callable[[dict, list[str]], Chains]
    record: Callable[[list[str]], list[str]]  # the words for overrides.json, of those pinned and typed
    continued: Run | None = None
    named: frozenset[str] = frozenset()
    branch: Path | None = None  # the checkpoint of `continued` that a new run begins with

    @property
    def overrides(self) -> list[str]:
        """What was typed, but for the run's name and place."""
        return [word for word in self.typed if key_of(word) not in PLACE]

    def refuse(self, run: Run, config: dict, in_sweep: bool) -> None:
        """Refuse a new run where one is, but for this trial of a sweep, and to go on with another one."""
        if self.continued:
            refuse_changed(self.continued, config, self.named, find_references(read_written(self.composed)))
        if in_sweep and run.exists and has_trained(run):
            refuse_other(run, config, self.typed)
        elif self.branch or not self.continued:
            refuse_taken(run)
        kept = [self.branch] if self.branch else list_complete(run.checkpoints)
        refuse_late_schedule(config, read_step(kept[-1]) if kept else 0)


def compose_and_launch(work: Callable) -> None:
    """Compose, validate, write the run directory, start the ranks and exit with their code.

    With `--run <directory>` this process is one of those ranks.
    """
    if not {"-sc", "--shell-completion"} & {*sys.argv}:  # a terminal waits for that amid a line
        hasten_imports()
    if sys.argv[1:2] == ["--run"]:
        take_own_code(sys.argv[3:])
        exit_together(run_rank(work, Run(sys.argv[2])), FINISHED)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors are raised to us; report_error makes a sentence of them
    script = os.path.abspath(sys.argv[0])  # before anybody changes the folder
    try:
        words = take_own_code(sys.argv[1:])
        if {"-h", "--help"} & {*words}:
            return _print_help(words)
        refuse_unknown_launcher()
        _refuse_missing_script(script)
        resume = find_resume(words)
        code = _resume(work, script, resume, words) if resume else _start_anew(work, script, words)
    except Exception as error:
        sys.exit(report_error(error))
    except KeyboardInterrupt:
        sys.exit(report_interrupt())
    exit_together(code)


def _start_anew(work: Callable, script: str, words: list[str]) -> int:
    """Have Hydra compose the words and start what comes of them: one job, or under -m several."""
    import hydra
    from hydra._internal.utils import get_args_parser
    from hydra.core.hydra_config import HydraConfig

    from triad.config.loader import use_loader  # imports Hydra

    jobs: list[tuple[Path, int]] = []
    raised: list[Exception] = []
    begun: list[Run] = []
    sweep = any(word in ("-m", "--multirun") for word in words)
    auto = is_auto(words)
    if auto and sweep:
        raise Refusal("resume=auto is of one run; -m goes on by itself when the same command is repeated")
    if said := answer_flag(words, get_args_parser()._option_string_actions):
        raise Refusal(said)
    asked = quote_typed(drop_resume(words), sweep)
    sys.argv[1:] = [*asked, *repeat_flags()]

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
    def main(composed: DictConfig) -> None:
        try:
            typed = [*HydraConfig.get().overrides.task]
            choices = {**HydraConfig.get().runtime.choices} | find_lists(typed)
            multirun = _read_multirun(asked, composed) if sweep else None
            if multirun:
                typed += _put_in_group(composed, multirun.folder.name)
                if not jobs:
                    print(f"sweep    {multirun.folder}", flush=True)
            job = Job(script, composed, choices, typed, trace_origins, lambda words: words)
            if auto and _has_trained(run := Run.of(validate(composed, choices))):
                begun.append(run)
                return
            jobs.append(_run_job(job, work, multirun))
        except Interrupted as signal:
            exit_together(signal.args[0])  # Hydra would start the next job of a sweep
        except Exception as error:  # out of Hydra's hands, which would print a line of its own
            raised.append(error)

    with use_loader():
        main()
    if raised:
        raise raised[0]
    if begun:
        return _resume(work, script, Resume(begun[0], False), drop_repeated(words, begun[0]))
    if sweep:
        failed = {path: f"failed ({code})" for path, code in jobs if code not in (0, DIVERGED)}
        print_runs([path for path, _ in jobs], failed)
    return next((code for _, code in jobs if code), 0)


def _print_help(words: list[str]) -> None:
    """What there is at once, then the keys of what these words choose, which Hydra composes."""
    print(format_train_help(), end="\n\n", flush=True)
    words = [word for word in drop_resume(words) if not word.startswith("-")]
    print(format_keys(compose_written(words)[0]))


def _refuse_missing_script(script: str) -> None:
    if not (ranks_are_here() or os.path.isfile(script)):
        raise Refusal(
            f"{os.path.basename(script)} is no file: every process of a run starts the script anew, so give"
            " its path: python train.py"
        )


def _resume(work: Callable, script: str, resume: Resume, words: list[str]) -> int:
    """Continue a run, or start a new one from its weights. Hydra's command line is not asked."""
    from triad.config.changes import change, read_flags

    flags = read_flags(words)
    typed = quote_typed(drop_resume(flags.overrides))
    changed = change(resume.read_base(typed), resume.read_choices(), typed)
    if flags.cfg:
        print(OmegaConf.to_yaml(changed.composed, resolve=flags.resolve), end="")
        return 0
    run, origins = resume.run, resume.run.origins_file
    before = read_chains(origins) if origins.is_file() else {}

    def record(words: list[str]) -> list[str]:
        of_weights = [f"weights={quote(str(resume.checkpoint or run))}"] if resume.weights_only else []
        return replace_overrides(run.overrides(), [*words, *of_weights])

    job = Job(
        script,
        changed.composed,
        changed.choices,
        typed,
        lambda config, words: changed.trace(config, before, words[len(typed) :]),
        record,
        None if resume.weights_only else run,
        frozenset(changed.named | ({LENGTH} if "epochs" in changed.named else set())),
        None if resume.weights_only else resume.checkpoint,
    )
    try:
        return _run_job(job, work)[1]
    except Interrupted as signal:
        return signal.args[0]


def _has_trained(run: Run) -> bool:
    """Whether a run is there that trained anything; of several ranks, as the first one sees it."""
    if not ranks_are_here():
        return run.exists and has_trained(run)
    from triad.launch.rendezvous import ask_first_rank

    return ask_first_rank(lambda: str(run.exists and has_trained(run))) == str(True)


def _read_multirun(words: list[str], composed: DictConfig) -> Multirun:
    from hydra.core.hydra_config import HydraConfig

    params = HydraConfig.get().sweeper.get("params") or {}  # which a file may set
    return Multirun.of(words, find_swept(words, params), str(composed.output_dir), composed.run_id)


def _put_in_group(composed: DictConfig, name: str) -> list[str]:
    """Log a job to W&B in the group of its sweep, unless it has one; the words that say so."""
    logger = OmegaConf.select(composed, "logger.wandb")
    if not isinstance(logger, DictConfig) or logger.get("group"):
        return []
    logger.group = name
    return [f"logger.wandb.group={quote(name)}"]


def _run_job(job: Job, work: Callable, multirun: Multirun | None = None) -> tuple[Path, int]:
    """One job: its directory and exit code. In a sweep a mistake does not stop the rest."""
    try:
        config = validate(job.composed, job.choices)
        run, in_sweep = _name_run(job, config, multirun), multirun is not None
        _refuse_two_lengths(job, config)
        begun = in_sweep and run.exists
        if begun:
            steps = run.config()["trainer"]["max_steps"] if is_unmeasured(config) else None
            job.refuse(run, validate(job.composed, job.choices, steps), in_sweep)
            if run.result():
                print(f"{run}: finished before, skipped", flush=True)
                return run.path, 0
        _refuse_unreadable_data(config)
        probe = None
        if is_unmeasured(config) and not begun:
            job.refuse(run, config, in_sweep)
            probe, code = _measure_length(job, run, config, work)
            if code:
                return run.path, code
        write = partial(_write_record, job, run, config, probe, in_sweep)
        return run.path, _start(config, work, job.script, run.path, write)
    except Refusal as error:
        if multirun is None:
            raise
        return multirun.find_trial(job.typed).path, report_error(error)


def _name_run(job: Job, config: dict, multirun: Multirun | None) -> Run:
    """The run of a job, named by what was typed, or by the time; of a sweep, in its folder, by the words in
    which trials differ. `config` gets name and place.
    """
    if multirun:
        config |= _place(multirun.find_trial(job.typed))
    elif not config["run_id"]:
        config["run_id"] = make_run_id(job.choices.get("model") or "run")
    run = Run.of(config)
    if job.continued and not job.branch and run.path.absolute() != job.continued.path.absolute():
        raise Refusal(
            f"resume={job.continued}: what was composed lies in {run}; name the run's folder itself"
        )
    return run


def _refuse_unreadable_data(config: dict) -> None:
    """Refuse data whose files are not there or not as said: sources find them when they are built."""
    try:
        build({"data": config["data"]})
    except Exception as error:
        sentence, code = explain_failure(error, config)
        if code == FAULT:
            raise
        raise Refusal(sentence) from error


def _refuse_two_lengths(job: Job, config: dict) -> None:
    typed = next((word for word in job.typed if key_of(word) == LENGTH), None)
    if config.get("epochs") and typed:
        said = f"epochs={config['epochs']:g} and {typed} both say how long the run is"
        raise Refusal(f"{said}: leave one out, epochs by epochs=null")


def _measure_length(job: Job, run: Run, config: dict, work: Callable) -> tuple[Run, int]:
    """The probe of a run whose length is a time or epochs, and its exit code."""
    length = config["trainer"]["max_steps"]
    if os.environ.get("RANK", "0") == "0":
        print(f"measuring how many steps {length} of training are", flush=True)
    unmeasured = validate(job.composed, job.choices, UNMEASURED) | _place(run)
    epochs = read_epochs(length)
    time_s = read_time(length) or 0.0
    short = configure_count(unmeasured, epochs) if epochs else configure_probe(unmeasured, time_s)
    probe = Run.of(short)
    return probe, _start(short, work, job.script, probe.path, partial(prepare_probe, short, run))


def _place(run: Run) -> dict[str, str]:
    return {"run_id": run.id, "output_dir": str(run.path.parent)}


def _write_record(job: Job, run: Run, config: dict, probe: Run | None, in_sweep: bool) -> Path:
    """Write what a start writes. A time and epochs become a number of steps, as if that were typed."""
    overrides, pinned, pace, measured = job.overrides, [], {}, {}
    length = config["trainer"]["max_steps"]
    if is_unmeasured(config):
        if probe:
            steps, pace, measured = finish_probe(probe, length)
        else:  # a job of a sweep that goes on
            steps = run.config()["trainer"]["max_steps"]
        config = validate(job.composed, job.choices, steps) | _place(run)
        pinned = [f"{LENGTH}={steps}"]
        overrides = [word for word in overrides if key_of(word) not in (LENGTH, "epochs")]
    job.refuse(run, config, in_sweep)
    words, origins = job.record(overrides + pinned), job.trace(config, job.typed + pinned)
    said = describe_start(run, config, job.branch)
    if run.exists and not has_trained(run):
        run.clear(record=not job.continued or job.branch is not None)
    if job.branch:
        take_checkpoint(job.branch, run)
    else:
        words = pin_weights(run, config, words)
    alone = describe_single_process(config, job.choices)
    for line in (*find_overlaid(origins, job.choices, job.typed), *([alone] if alone else []), *said):
        print(line, flush=True)
    prepare_run(config, words, origins, read_written(job.composed), job.choices)
    if pace:
        record_pace(run, pace, measured)
    return run.path


def _start(config: dict, work: Callable, script: str, directory: Path, write: Callable[[], Path]) -> int:
    if ranks_are_here():
        from triad.launch.rendezvous import agree_on_run

        with agree_on_run(directory, write) as agreed:
            code = run_rank(work, Run(agreed))
        if signals.agreed or signals.first:
            raise Interrupted(code)
        return code
    ranks, threads = ranks_here(config), count_threads(config)
    with hold(directory):
        write()
        return launch_ranks(script, directory, ranks, threads, read_grace(config))
