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
from triad.config.build import build
from triad.config.command_line import key_of
from triad.config.compose import UNMEASURED, find_lists, read_time, read_written, trace_origins, validate
from triad.config.errors import Interrupted, Refusal
from triad.config.locations import CONF
from triad.config.messages import DIVERGED, FAULT, explain_failure, report_error, report_interrupt
from triad.config.overlays import find_overlaid
from triad.config.overrides import quote, quote_typed, replace_overrides
from triad.config.processes import count_threads, ranks_are_here, ranks_here, refuse_unknown_launcher
from triad.config.provenance import Chains, read_chains
from triad.config.references import find_references
from triad.config.slow_imports import hasten_imports
from triad.launch.rank import exit_together, run_rank
from triad.launch.resume import (
    Resume,
    drop_repeated,
    drop_resume,
    find_resume,
    is_auto,
    pin_weights,
    refuse_changed,
    refuse_taken,
)
from triad.launch.run_length import configure_probe, finish_probe, record_pace
from triad.launch.supervisor import FINISHED, launch_ranks, read_grace
from triad.runs.directory import Run, make_run_id, make_sweep_id
from triad.runs.signals import signals
from triad.runs.start import prepare_run
from triad.storage.locks import hold

PLACE = ("run_id", "output_dir")


class Job(NamedTuple):
    """A configuration to start: composed of which choices and words, and where its values come from.

    `continued` is the run that it continues, and `named` are the keys and groups that words changed of it.
    """

    script: str  # that its ranks start anew
    composed: DictConfig
    choices: Mapping[str, Any]
    typed: list[str]
    trace: Callable[[dict, list[str]], Chains]
    record: Callable[[list[str]], list[str]]  # the words for overrides.json, of those pinned and typed
    continued: Run | None = None
    named: frozenset[str] = frozenset()

    @property
    def overrides(self) -> list[str]:
        """What was typed, but for the run's name and place."""
        return [word for word in self.typed if key_of(word) not in PLACE]

    def refuse(self, run: Run, config: dict, in_sweep: bool) -> None:
        """Refuse a new run where one is, and other mathematics for one that goes on; a sweep does go on."""
        if self.continued:
            refuse_changed(run, config, self.named, find_references(read_written(self.composed)))
        elif not in_sweep:
            refuse_taken(run)


def compose_and_launch(work: Callable) -> None:
    """Compose, validate, write the run directory, start the ranks and exit with their code.

    With `--run <directory>` this process is one of those ranks.
    """
    hasten_imports()
    if sys.argv[1:2] == ["--run"]:
        exit_together(run_rank(work, Run(sys.argv[2])), FINISHED)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors are raised to us; report_error makes a sentence of them
    script, words = os.path.abspath(sys.argv[0]), sys.argv[1:]  # before anybody changes the folder
    try:
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
    from hydra.core.hydra_config import HydraConfig

    from triad.config.loader import use_loader  # imports Hydra

    jobs: list[tuple[Path, int]] = []
    raised: list[Exception] = []
    begun: list[Run] = []
    sweep = any(word in ("-m", "--multirun") for word in words)
    auto = is_auto(words)
    if auto and sweep:
        raise Refusal("resume=auto is of one run; -m goes on by itself when the same command is repeated")
    sys.argv[1:] = asked = quote_typed(drop_resume(words), sweep)

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
    def main(composed: DictConfig) -> None:
        try:
            typed = [*HydraConfig.get().overrides.task]
            choices = {**HydraConfig.get().runtime.choices} | find_lists(typed)
            job = Job(script, composed, choices, typed, trace_origins, lambda words: words)
            if auto and _has_begun(run := Run.of(validate(composed, choices))):
                begun.append(run)
                return
            jobs.append(_run_job(job, work, asked if sweep else None))
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
    changed = change(resume.read_base(typed), resume.read_choices(), typed, flags.config_dir)
    if flags.cfg:
        print(OmegaConf.to_yaml(changed.composed, resolve=flags.resolve), end="")
        return 0
    run, origins = resume.run, resume.run.origins_file
    before = read_chains(origins) if origins.is_file() else {}

    def record(words: list[str]) -> list[str]:
        of_weights = [f"weights={quote(str(run))}"] if resume.weights_only else []
        return replace_overrides(run.overrides(), [*words, *of_weights])

    job = Job(
        script,
        changed.composed,
        changed.choices,
        typed,
        lambda config, words: changed.trace(config, before, words[len(typed) :]),
        record,
        None if resume.weights_only else run,
        frozenset(changed.named),
    )
    try:
        return _run_job(job, work)[1]
    except Interrupted as signal:
        return signal.args[0]


def _has_begun(run: Run) -> bool:
    """Whether a run is there; of several ranks, as the first one sees it."""
    if not ranks_are_here():
        return run.exists
    from triad.launch.rendezvous import ask_first_rank

    return ask_first_rank(lambda: str(run.exists)) == str(True)


def _run_job(job: Job, work: Callable, sweep: list[str] | None = None) -> tuple[Path, int]:
    """One job: its directory and exit code. In a sweep, of these words, a mistake does not stop the rest."""
    try:
        config = validate(job.composed, job.choices)
        run = _name_run(job, config, sweep)
        if sweep is not None and run.result():
            print(f"{run}: finished before, skipped", flush=True)
            return run.path, 0
        _refuse_unreadable_data(config)
        probe, begun = None, sweep is not None and run.exists
        if read_time(config["trainer"]["max_steps"]) and not begun:
            job.refuse(run, config, sweep is not None)
            probe, code = _measure_pace(job, run, config, work)
            if code:
                return run.path, code
        write = partial(_write_record, job, run, config, probe, sweep is not None)
        return run.path, _start(config, work, job.script, run.path, write)
    except Refusal as error:
        if sweep is None:
            raise
        return Path(" ".join(job.overrides).replace("/", "|")), report_error(error)


def _name_run(job: Job, config: dict, sweep: list[str] | None) -> Run:
    """The run of a job, named by what was typed, by the words that tell it from others of a sweep, or by the
    time; `config` gets the name.
    """
    if sweep is not None:
        config["run_id"] = make_sweep_id([word for word in job.overrides if word not in sweep], config)
    elif not config["run_id"]:
        config["run_id"] = make_run_id(job.choices.get("model") or "run")
    run = Run.of(config)
    if job.continued and run.path.absolute() != job.continued.path.absolute():
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


def _measure_pace(job: Job, run: Run, config: dict, work: Callable) -> tuple[Run, int]:
    """The probe of a run whose length is a time, and its exit code."""
    length = config["trainer"]["max_steps"]
    print(f"measuring how many steps {length} of training are", flush=True)
    unmeasured = validate(job.composed, job.choices, UNMEASURED) | {"run_id": run.id}
    short = configure_probe(unmeasured, read_time(length) or 0.0)
    probe = Run.of(short)
    return probe, _start(short, work, job.script, probe.path, lambda: prepare_run(short, []).path)


def _write_record(job: Job, run: Run, config: dict, probe: Run | None, in_sweep: bool) -> Path:
    """Write what a start writes. A length that is a time becomes a number of steps, as if it were typed."""
    overrides, pinned, pace, measured = job.overrides, [], {}, {}
    if read_time(length := config["trainer"]["max_steps"]):
        if probe:
            steps, pace, measured = finish_probe(probe, length)
        else:  # a job of a sweep that goes on
            steps = run.config()["trainer"]["max_steps"]
        config = validate(job.composed, job.choices, steps) | {"run_id": run.id}
        pinned = [f"trainer.max_steps={steps}"]
        overrides = [word for word in overrides if key_of(word) != "trainer.max_steps"]
    job.refuse(run, config, in_sweep)
    words = pin_weights(run, config, job.record(overrides + pinned))
    origins = job.trace(config, job.typed + pinned)
    for said in find_overlaid(origins, job.choices, job.typed):
        print(said, flush=True)
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
