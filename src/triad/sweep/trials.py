"""The runs of a point, one per seed: how they are named, how they start, and what they logged."""

from pathlib import Path
from typing import Any, NamedTuple

from triad.config.command_line import key_of
from triad.config.errors import Refusal
from triad.config.own_code import repeat_flags, repeat_words
from triad.config.schema import suggest
from triad.runs.directory import Run
from triad.runs.trial_names import make_trial_id
from triad.storage.locks import Lock, hold
from triad.sweep import trial_command as words
from triad.sweep.sweep_file import Sweep


class SweepSetup(NamedTuple):
    """What all runs of a sweep share. `beside`: words of the command line, after the parameters."""

    sweep: Sweep
    directory: Path
    script: Path
    beside: list[str]
    seeds: int | None


class Trial(NamedTuple):
    """One run of a point."""

    number: int
    seed: int | None
    directory: Path
    words: list[str]

    @property
    def first(self) -> bool:
        return not self.seed

    @property
    def log(self) -> Path:
        return self.run.log_file

    @property
    def run(self) -> Run:
        return Run(self.directory)


def list_trials(setup: SweepSetup, number: int, drawn: list[str]) -> list[Trial]:
    """A point's runs, one per seed. Names follow from what is drawn, so a restarted sweep finds its runs."""
    runs = []
    constant = {key for key, one in setup.sweep.space.items() if one.distribution is None}
    for seed in range(setup.seeds) if setup.seeds else (None,):
        own = drawn if seed is None else [*drawn, f"seed={seed}"]
        name = make_trial_id([word for word in own if key_of(word) not in constant])
        runs.append(Trial(number, seed, setup.directory / name, own))
    return runs


def make_command(setup: SweepSetup, one: Trial) -> list[str]:
    """Start a run, or continue it if its directory says all that it was started with.

    Either may call one's own code as far as the sweep's own start permits it.
    """
    own = [*repeat_flags(), *repeat_words()]
    if one.run.exists:
        return words.make_resume_command(setup.sweep, setup.script, one.directory) + own
    placed = [f"run_id={one.directory.name}", f"output_dir={setup.directory}"]
    return words.make_start_command(setup.sweep, setup.script, one.words, [*setup.beside, *placed, *own])


def claim(one: Trial) -> Lock | None:
    """Take a run for this driver until the lock is released or the driver dies; None if another has it.

    Also while a process of a driver that is gone is still in it.
    """
    claimed = Lock(one.directory / ".claim")
    try:
        claimed.take(wait=False)
    except BlockingIOError:
        return None
    try:
        with hold(one.directory):
            return claimed
    except BlockingIOError:
        claimed.release()
        return None


def read_values(one: Trial, metric: str) -> list[float]:
    """The values of a metric that a run has logged, in order."""
    return [row[metric] for row in one.run.metrics() if metric in row]


def read_value(one: Trial, metric: str) -> float | None:
    """What a finished run came to: the figure of its result, else the last that it logged; None: neither."""
    found = (one.run.result() or {}).get(metric)
    return found if found is not None else next(reversed(read_values(one, metric)), None)


def refuse_unlogged(one: Trial, metric: str) -> Refusal:
    """The sentence for a metric that a finished run does not know."""
    known = [*dict.fromkeys([*(one.run.result() or {}), *(key for row in one.run.metrics() for key in row)])]
    known = [name for name in known if name != "step"]
    near = suggest(metric, known) or f"; it logs {', '.join(sorted(known)[:20])}"
    return Refusal(f"metric {metric} is not logged by {one.directory}, which is finished{near}")


def read_progress(one: Trial) -> Any:
    """Something that changes whenever a run has come further."""
    rows = one.run.metrics()
    saved = sorted(path.name for path in one.run.checkpoints.glob("*"))
    return (rows[-1].get("step") if rows else None), saved


def count_logged_bytes(one: Trial) -> int:
    """Bytes of what was logged."""
    path = one.run.metrics_file
    return path.stat().st_size if path.exists() else 0
