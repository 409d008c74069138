"""How `train.py` starts: Hydra composes the configuration, a parent validates it and starts the ranks.

The parent imports no torch. It writes the run directory and starts one process per rank on it. A mistake is
answered with one sentence and exit code 2. Outside of triad.config only this module imports Hydra.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from triad.analysis.table import print_runs
from triad.config.command_line import key_of
from triad.config.compose import UNMEASURED, find_references, read_time, trace_origins, validate
from triad.config.errors import Refusal
from triad.config.locations import CONF
from triad.config.messages import DIVERGED, report_error
from triad.config.overlays import find_overlaid
from triad.config.processes import count_threads, ranks_are_here, ranks_here
from triad.launch.rank import exit_together, run_rank
from triad.launch.resume import check_free, expand_resume, pin_weights
from triad.launch.run_length import configure_probe, finish_probe, record_pace
from triad.launch.supervisor import Interrupted, launch
from triad.runs.directory import Run, make_run_id, make_sweep_id
from triad.runs.start import prepare_run
from triad.storage.locks import hold


def compose_and_launch(work: Callable) -> None:
    """Compose, validate, write the run directory, start the ranks and exit with their code.

    With `--run <directory>` this process is one of those ranks.
    """
    if sys.argv[1:2] == ["--run"]:
        exit_together(run_rank(work, Run(sys.argv[2])))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors are raised to us; report_error makes a sentence of them
    import hydra

    from triad.config.loader import use_loader  # imports Hydra

    jobs: list[tuple[Path, int]] = []
    raised: list[Exception] = []
    asked = sys.argv[1:]

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
    def main(composed: DictConfig) -> None:
        try:
            jobs.append(_run_job(composed, work, asked, sweep=multirun))
        except Interrupted as signal:
            raise SystemExit(signal.args[0]) from None  # Hydra would start the next job of a sweep
        except Exception as error:  # out of Hydra's hands, which would print a line of its own
            raised.append(error)

    multirun = any(word in ("-m", "--multirun") for word in asked)
    try:
        sys.argv[1:] = expand_resume(asked)
        with use_loader():
            main()
    except Exception as error:
        raised.append(error)
    if raised:
        sys.exit(report_error(raised[0]))
    if multirun:
        failed = {path: f"failed ({code})" for path, code in jobs if code not in (0, DIVERGED)}
        print_runs([path for path, _ in jobs], failed)
    exit_together(next((code for _, code in jobs if code), 0))


def _run_job(composed: DictConfig, work: Callable, asked: list[str], sweep: bool) -> tuple[Path, int]:
    """One job of Hydra's: its directory and exit code. In a sweep a mistake does not stop the rest."""
    from hydra.core.hydra_config import HydraConfig

    typed, choices = [*HydraConfig.get().overrides.task], HydraConfig.get().runtime.choices
    overrides = [word for word in typed if key_of(word) not in ("run_id", "output_dir")]
    try:
        config = validate(composed, choices)
        if sweep:
            config["run_id"] = make_sweep_id([word for word in overrides if word not in asked], config)
        elif not config["run_id"]:
            config["run_id"] = make_run_id(choices["model"])
        run = Run.of(config)
        if sweep and run.result():
            print(f"{run}: finished before, skipped", flush=True)
            return run.path, 0

        time_s = read_time(length := config["trainer"]["max_steps"])
        probe = None
        if time_s and not (sweep and run.exists):
            if not sweep:
                check_free(run, config, asked, find_references(composed))
            print(f"measuring how many steps {length} of training are", flush=True)
            short = configure_probe(validate(composed, choices, UNMEASURED) | {"run_id": run.id}, time_s)
            probe = Run.of(short)
            if code := _start(short, work, probe.path, lambda: prepare_run(short, []).path):
                return run.path, code

        def write() -> Path:
            settled, pinned, pace, measured = config, [], {}, {}
            if time_s:  # from here on the run has a number of steps, as if it had been typed
                if probe:
                    steps, pace, measured = finish_probe(probe, length)
                else:  # a job of a sweep that goes on
                    steps = run.config()["trainer"]["max_steps"]
                settled = validate(composed, choices, steps) | {"run_id": run.id}
                pinned = [f"trainer.max_steps={steps}"]
            if not sweep:
                check_free(run, settled, asked, find_references(composed))
            words = [word for word in overrides if not (pinned and key_of(word) == "trainer.max_steps")]
            words = pin_weights(run, settled, words + pinned)
            origins = trace_origins(settled, typed + pinned)
            for said in find_overlaid(origins, choices, typed):
                print(said, flush=True)
            prepare_run(settled, words, origins)
            if pace:
                record_pace(run, pace, measured)
            return run.path

        return run.path, _start(config, work, run.path, write)
    except Refusal as error:
        if not sweep:
            raise
        return Path(" ".join(overrides).replace("/", "|")), report_error(error)


def _start(config: dict, work: Callable, directory: Path, write: Callable[[], Path]) -> int:
    if ranks_are_here():
        from triad.launch.rendezvous import agree_on_run

        with agree_on_run(directory, write) as agreed:
            return run_rank(work, Run(agreed))
    ranks = ranks_here(config)
    with hold(directory):
        write()
        return launch([sys.executable, sys.argv[0], "--run", str(directory)], ranks, count_threads(config))
