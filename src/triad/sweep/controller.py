"""Run a sweep: read and check the file, compare it with an earlier start, drive the trials, report."""

import errno
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

from triad.analysis.table import print_runs
from triad.config.command_line import key_of
from triad.config.directions import directions
from triad.config.errors import NotComposed, Refusal
from triad.config.locations import REPOSITORY, TRAIN
from triad.config.own_code import repeat_flags, repeat_words
from triad.runs.directory import Run
from triad.storage.durable import replace, sweep_temporaries, write
from triad.sweep import trial_command as templates
from triad.sweep.driver import PATIENCE, Driver, count_done, refuse_full_disk
from triad.sweep.progress import ProgressDisplay
from triad.sweep.search_space import format_value
from triad.sweep.slurm import STORAGE, submit
from triad.sweep.study import Point, Study
from triad.sweep.sweep_file import Sweep, read_sweep
from triad.sweep.trials import SweepSetup, list_trials

STATES = {"COMPLETE": "finished", "PRUNED": "ended early", "FAIL": "failed"}
OWN = ("resume", "resume.weights_only", "run_id")  # keys that the sweep sets itself


def run_sweep(
    overrides: list[str],
    jobs: int,
    seeds: int | None,
    extend: int,
    retry: bool,
    fork: str | None,
    storage: str | None,
    launcher: str = "here",
    drivers: int = 1,
) -> int:
    """Run a sweep to its end; the exit code: 0 if no trial failed and none is unfinished."""
    sweep, beside = read_sweep(_find_file(overrides)), [w for w in overrides if "=" in w or w.startswith("~")]
    options = {key_of(w)[6:]: w.partition("=")[2] for w in beside if w.startswith("slurm.")}
    beside = [w for w in beside if not w.startswith("slurm.")]
    for key, value, least in (
        ("jobs", jobs, 1),
        ("seeds", seeds, 1),
        ("extend", extend, 0),
        ("drivers", drivers, 1),
    ):
        if value is not None and value < least:
            raise Refusal(f"{key}={value}: needs a number from {least} on")
    if launcher == "here" and (options or drivers > 1):
        raise Refusal(
            "drivers= and slurm.* are for launcher=slurm; start the command several times, or jobs="
        )
    storage = storage or os.environ.get(STORAGE)
    setup = _set_up(sweep, beside, seeds, fork)
    sweep = setup.sweep
    points = sweep.count_points(extend)
    try:
        study = Study(sweep, setup.directory, storage)
        study.agree_on_request(_describe_request(sweep, beside, seeds), extend > 0)
        with study.lock():
            sweep_temporaries(setup.directory)
            replace(setup.directory / "sweep.yaml", sweep.text)
        study.queue(points)
        if retry:
            study.retry()
        if launcher == "slurm":
            given = {"jobs": jobs, "seeds": seeds, "extend": extend, "fork": fork}
            words = [f"{key}={value}" for key, value in given.items() if value]
            words += [*repeat_flags(), *repeat_words()]
            return _submit([str(sweep.path.resolve()), *beside, *words], setup, drivers, options, storage)
        code = _drive(setup, study, jobs, retry)
        return code or _report(setup, study)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise refuse_full_disk(setup) from None


def _find_file(overrides: list[str]) -> Path:
    files = [word for word in overrides if "=" not in word and not word.startswith("~")]
    if len(files) != 1:
        more = f" and not {' and '.join(files)}" if files else ""
        raise Refusal(f"one sweep file is needed{more}: python -m triad.sweep sweeps/lr.yaml")
    here = Path(files[0])
    return here if here.is_file() or not (REPOSITORY / here).is_file() else REPOSITORY / here


def _set_up(sweep: Sweep, beside: list[str], seeds: int | None, fork: str | None) -> SweepSetup:
    """What all trials share. Refuses a sweep whose trials could not start."""
    for given in beside:
        if key_of(given) in (*OWN, *sweep.space) or (key_of(given) == "seed" and seeds):
            raise Refusal(f"{given}: the sweep sets {key_of(given)} itself")
    if seeds and "seed" in sweep.space:
        raise Refusal(
            f"seeds={seeds}: seed is a parameter of {sweep.path}; take it out there, or seeds= here"
        )
    script = templates.find_program(sweep)
    ours = script.resolve() == TRAIN
    templates.check_macros(sweep, ours)
    config = _compose_corners(sweep, script, beside) if ours else {}
    sweep = sweep.with_goal(directions(config) if ours else None)
    places = [given.partition("=")[2] for given in beside if key_of(given) == "output_dir"]
    base = config.get("output_dir") or (places or ["outputs"])[-1]
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in fork or sweep.name).strip(".-")
    if not name:
        raise Refusal(f"{fork or sweep.name}: is not a name for a sweep")
    if Run(Path(base, name)).exists:
        raise Refusal(f"{base}/{name} is a run, and no folder of runs; fork=NAME writes to another")
    beside = [given for given in beside if key_of(given) != "output_dir"]
    if config.get("logger", {}).get("wandb"):
        known = {key_of(given) for given in (*beside, *sweep.command)}
        labels = {"logger.wandb.group": name, "logger.wandb.project": sweep.labels.get("project")}
        beside += [f"{key}={value}" for key, value in labels.items() if value and key not in known]
    return SweepSetup(sweep, Path(base, name), script, beside, seeds)


def _compose_corners(sweep: Sweep, script: Path, beside: list[str]) -> dict:
    """The configuration of a trial. Raises Refusal where no trial could have one; imports no torch.

    An unknown key is refused at once, an impossible value only if the other end of the space has one, too.
    """
    from triad.config.compose import compose

    first: Refusal | None = None
    for point in sweep.corners():
        parameters = [f"{key}={format_value(value)}" for key, value in point.items()]
        try:
            asked = templates.make_start_command(sweep, script, parameters, beside)
            return compose(asked[asked.index(str(script)) + 1 :])  # with the words of the file's own
        except NotComposed as error:
            lines = [line for key, line in sweep.lines.items() if str(error).startswith(key)]
            where = f"{sweep.path}:{lines[0]}: parameter " if lines else ""
            raise Refusal(f"{where}{error}") from None
        except Refusal as error:
            first = first or error
    assert first is not None
    raise first


def _describe_request(sweep: Sweep, beside: list[str], seeds: int | None) -> dict[str, Any]:
    """What must stay the same for a sweep of this name: the file, overrides and seeds."""
    kept = [given for given in beside if key_of(given) != "output_dir"]
    return json.loads(json.dumps(sweep.asked | {"overrides": kept, "seeds": seeds}, default=str))


def _drive(setup: SweepSetup, study: Study, jobs: int, adopt: bool) -> int:
    points = study.points()
    total = len(points) * (setup.seeds or 1)
    display = ProgressDisplay(setup.sweep.metric, total, count_done(setup, points), jobs)
    try:
        signal = Driver(setup, study, jobs, adopt, display).run()
    finally:
        display.close()
    if not signal:
        return 0
    left = sum(not point.ended for point in study.points())
    print(f"ended by a signal with {left} of {len(study.points())} points to do; the same command goes on")
    return 128 + signal


def _submit(
    words: list[str], setup: SweepSetup, drivers: int, options: dict[str, str], storage: str | None
) -> int:
    jobs = submit(words, setup.directory, drivers, options, "slurm", storage)
    print(f"submitted: {' '.join(job.job_id for job in jobs)} (logs: {setup.directory}/slurm)")
    print("the same command without launcher=slurm waits for them, helps, and shows the table")
    return 0


def _report(setup: SweepSetup, study: Study) -> int:
    """Print the leaderboard, write trials.json."""
    points = study.points()
    directories, states, records = [], {}, []
    for point in points:
        every = list_trials(setup, point.number, point.words)
        state = STATES.get(point.trial.state.name, "unfinished")
        if state == "finished" and point.trial.user_attrs.get("why"):
            state = "diverged"
        records.append(_make_record(setup.sweep, point, state, [one.directory.name for one in every]))
        for one in every if point.host else ():
            if not one.directory.exists():
                continue  # a seed that was not tried, or on another machine's disk
            directories.append(one.directory)
            if state not in ("finished", "diverged") and not (state == "failed" and one.run.result()):
                states[one.directory] = state
    with study.lock():
        write(setup.directory / "trials.json", records)
    print_runs(directories, states, setup.sweep.metric, setup.sweep.goal)
    _report_failures(records)
    best = study.best()
    if best and math.isfinite(best.trial.value or 0.0):
        print(f"best: {' '.join(best.words)}  {setup.sweep.metric} {best.trial.value:.5g}")
    print(f"all trials: {setup.directory}/trials.json")
    return 0 if all(record["state"] in ("finished", "diverged", "ended early") for record in records) else 1


def _report_failures(records: list[dict[str, Any]]) -> None:
    """Print failed and unfinished trials, and what to do about them."""
    failed = [record for record in records if record["state"] == "failed"]
    for record in failed:
        print(f"failed: {record['why']}", file=sys.stderr)
    if failed:
        print("retry=true tries the failed ones again", file=sys.stderr)
    if left := sum(record["state"] == "unfinished" for record in records):
        print(
            f"{left} unfinished: killed {PATIENCE} times in a row; the same command tries again",
            file=sys.stderr,
        )


def _make_record(sweep: Sweep, point: Point, state: str, names: list[str]) -> dict[str, Any]:
    """A point as JSON for trials.json."""
    drawn = point.trial.params
    return {
        "number": point.number,
        "state": state,
        "parameters": {key: one.value(drawn.get(key)) for key, one in sweep.space.items()}
        if point.host
        else {},
        "metric": sweep.metric,
        "value": point.trial.value,
        "runs": names if point.host else [],
        "why": point.trial.user_attrs.get("why", ""),
    }
