"""The study of a sweep: which points there are, which are begun, and what came of them, in Optuna's storage.

A point is an Optuna trial. All points are queued when the sweep starts; a driver takes the next from the
queue and Optuna draws its parameters. Every step is one line of the journal, repeated with the same outcome
when a driver was killed in the middle of it: what is drawn depends on the point's number, the parameter and
the points told before, not on the process that draws.
"""

import json
import math
import os
import socket
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, check_distribution_compatibility
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from triad.config.directions import find_best
from triad.config.errors import Refusal, one_line
from triad.config.secrets import mask
from triad.storage.durable import open_in_place
from triad.storage.locks import Lock
from triad.sweep.search_space import format_value
from triad.sweep.successive_halving import Halving
from triad.sweep.sweep_file import GOALS, Sweep

optuna.logging.set_verbosity(optuna.logging.ERROR)
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class Point(NamedTuple):
    """One point of the search: its number (kept when it is retried), its trial and its words."""

    number: int
    trial: FrozenTrial
    words: list[str]

    @property
    def begun(self) -> bool:
        return self.trial.state != TrialState.WAITING

    @property
    def ended(self) -> bool:
        return self.trial.state in ENDED

    @property
    def host(self) -> str:
        return self.trial.user_attrs.get("host", "")


class Study:
    """A sweep's study in its directory, or at a database URL. Raises Refusal if it is another sweep's."""

    def __init__(self, sweep: Sweep, directory: Path, storage: str | None) -> None:
        assert sweep.goal != "auto", "it has been asked of the metric"
        self.sweep, self.directory = sweep, directory
        directory.mkdir(parents=True, exist_ok=True)
        with self.lock():
            self.study = optuna.create_study(
                storage=_open_storage(directory, storage),
                study_name=directory.name,
                direction=sweep.goal,
                pruner=Halving(sweep.rungs) if sweep.rungs else optuna.pruners.NopPruner(),
                load_if_exists=True,
            )

    @contextmanager
    def lock(self) -> Generator[None]:
        """Keep other drivers from changing points. The lock is released when a driver dies."""
        held = Lock(self.directory / ".lock")
        held.take()
        try:
            yield
        finally:
            held.release()

    def agree_on_request(self, asked: dict[str, Any], extend: bool) -> None:
        """Store the request at the first start; later, refuse a request that differs."""
        with self.lock():
            before = self.study.user_attrs.get("asked")
            if before is None or self._is_extensible(before, asked, extend):
                self.study.set_user_attr("asked", asked)
            elif changed := [key for key in {**before, **asked} if before.get(key) != asked.get(key)]:
                goes_on = "" if self.sweep.method == "grid" else ", extend=N goes on with a wider space"
                raise Refusal(
                    f"{self.directory} was started with other {' and '.join(changed)} than now;"
                    f" fork=NAME starts anew under another name{goes_on}"
                )

    def queue(self, points: int) -> None:
        """Queue points until there are `points` in all."""
        with self.lock():
            known = sum("retries" not in trial.user_attrs for trial in self.study.get_trials(False))
            for index in range(known, points):
                self.study.enqueue_trial(self.sweep.combination(index))

    def retry(self) -> None:
        """Queue the failed points again, with their parameters."""
        with self.lock():
            for point in self.points():
                if point.trial.state == TrialState.FAIL:
                    self.study.enqueue_trial(point.trial.params, user_attrs={"retries": point.number})

    def points(self) -> list[Point]:
        """All points by number, of a retried one the newest trial."""
        newest: dict[int, FrozenTrial] = {}
        for trial in self.study.get_trials(False):
            newest[trial.user_attrs.get("retries", trial.number)] = trial
        return [
            Point(number, trial, self._format_overrides(trial)) for number, trial in sorted(newest.items())
        ]

    def best(self) -> Point | None:
        """The finished point with the best value."""
        finished = [point for point in self.points() if point.trial.state == TrialState.COMPLETE]
        direction = "lower" if self.sweep.goal == "minimize" else "higher"
        return find_best(finished, lambda point: point.trial.values[0], direction)

    def has_ended(self, number: int) -> bool:
        """Whether a point has ended meanwhile."""
        return self._find_point(number).ended

    def is_elsewhere(self, point: Point) -> bool:
        """Whether another machine has begun a point."""
        return point.host != socket.gethostname()

    def begin(self, number: int) -> Point | None:
        """Draw the parameters of a point, if no other driver has; also of one that was cut short in it."""
        with self.lock():
            point = self._find_point(number)
            if not point.begun:
                self.study.sampler = self._make_sampler(number)
                if self.study.ask().number != point.trial.number:
                    return None  # another machine took it, or one before it: look again
                point = self._find_point(number)
            if not point.ended and not point.host:
                self._draw(number, point.trial)
            return self._find_point(number)

    def judge(self, number: int, values: list[float]) -> bool:
        """Note what a trial has logged so far; whether it was, or is now, to end early."""
        with self.lock():
            frozen = self._find_point(number).trial
            if frozen.state != TrialState.RUNNING:
                return frozen.state == TrialState.PRUNED
            trial = Trial(self.study, frozen._trial_id)
            known = len(frozen.intermediate_values)
            for rung, value in enumerate(values, 1):
                if rung > known:
                    trial.report(self._replace_nan(value), rung)
                if rung >= known and trial.should_prune():
                    self.study.tell(frozen.number, state=TrialState.PRUNED)
                    return True
            return False

    def complete(self, number: int, value: float, why: str = "") -> None:
        """Tell the value of a point whose runs are all finished; of one that has diverged NaN, and where."""
        self._tell(number, TrialState.COMPLETE, self._replace_nan(value), why)

    def fail(self, number: int, why: str) -> None:
        """Tell that a run of the point failed, and why."""
        self._tell(number, TrialState.FAIL, None, why)

    def _tell(self, number: int, state: TrialState, value: float | None, why: str = "") -> None:
        with self.lock():
            trial = self._find_point(number).trial
            if trial.state == TrialState.RUNNING:
                if why:
                    Trial(self.study, trial._trial_id).set_user_attr("why", why)
                self.study.tell(trial.number, value, state)

    def _find_point(self, number: int) -> Point:
        return next(point for point in self.points() if point.number == number)

    def _draw(self, number: int, frozen: FrozenTrial) -> None:
        """Draw all parameters; those that are drawn together first, then each with numbers of its own."""
        self.study.sampler = self._make_sampler(number)
        trial = Trial(self.study, frozen._trial_id)
        _ = trial.relative_params  # drawn now, from the same numbers whichever parameter is already known
        for key, one in self.sweep.space.items():
            self.study.sampler = self._make_sampler(number, key)
            match one.distribution:
                case None:
                    continue
                case CategoricalDistribution(choices=choices):
                    trial.suggest_categorical(key, choices)
                case FloatDistribution(low=low, high=high, log=log):
                    trial.suggest_float(key, low, high, log=log)
                case distribution:
                    trial.suggest_int(key, distribution.low, distribution.high)
        trial.set_user_attr("host", socket.gethostname())

    def _format_overrides(self, trial: FrozenTrial) -> list[str]:
        """key=value for every parameter that is drawn, in the order of the file."""
        return [
            f"{key}={format_value(one.value(trial.params.get(key)))}"
            for key, one in self.sweep.space.items()
            if one.distribution is None or key in trial.params
        ]

    def _make_sampler(self, number: int, key: str = "") -> BaseSampler:
        seed = int.from_bytes(blake2b(f"{number} {key}".encode(), digest_size=4).digest())
        return TPESampler(seed=seed) if self.sweep.method == "bayes" else RandomSampler(seed=seed)

    def _replace_nan(self, value: float) -> float:
        """A loss that is not a number is the worst there is, and no failure of the search."""
        return value if not math.isnan(value) else math.inf if self.sweep.goal == "minimize" else -math.inf

    def _is_extensible(self, before: dict[str, Any], asked: dict[str, Any], extend: bool) -> bool:
        """Whether what has been done so far stays what it was under the file as it is now.

        When adding points, the space may be another, if values already drawn are still understood and
        constants stay; and the metric may have another name as long as nothing has been told.
        """
        trials = self.study.get_trials(False)
        free = {"parameters", "run_cap"} if extend else set()
        if not any(trial.state in ENDED or trial.intermediate_values for trial in trials):
            same = before["metric"].get("goal", GOALS[0]) == self.sweep.goal
            free |= {"metric"} if same else set()
        if any(before.get(key) != asked.get(key) for key in asked if key not in free):
            return False
        if _list_constants(asked["parameters"]).items() - _list_constants(before["parameters"]).items():
            return False
        try:
            for trial in trials:
                for key, distribution in trial.distributions.items():
                    now = self.sweep.space[key].distribution
                    if now is None:
                        return False
                    check_distribution_compatibility(distribution, now)
        except (ValueError, KeyError):
            return False
        return True


def _list_constants(parameters: dict[str, Any], above: str = "") -> dict[str, str]:
    """The parameters of a file that have one `value`, as JSON, by dotted key."""
    found: dict[str, str] = {}
    for key, entry in parameters.items():
        found |= _list_constants(entry.get("parameters", {}), f"{above}{key}.")
        found |= {f"{above}{key}": json.dumps(entry["value"])} if "value" in entry else {}
    return found


class _JournalLock:
    """A lock for the journal that the system lets go of when its holder is killed; Optuna's own wait 30 s."""

    def __init__(self, path: Path) -> None:
        self.lock = Lock(path)

    def acquire(self) -> bool:
        self.lock.take()
        return True

    def release(self) -> None:
        self.lock.release()


def _open_storage(directory: Path, url: str | None) -> BaseStorage:
    if url:
        try:
            return optuna.storages.RDBStorage(url)
        except Exception as error:  # of whichever database driver
            raise Refusal(mask(f"storage={url}: {one_line(error)[:200]}")) from None
    journal, lock = directory / "study.journal", _JournalLock(directory / "study.lock")
    os.close(open_in_place(journal, os.O_WRONLY | os.O_CREAT))  # Optuna's own would follow a symbolic link
    _cut_torn_line(journal, lock)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))  # ty: ignore[invalid-argument-type]


def _cut_torn_line(journal: Path, lock: _JournalLock) -> None:
    """Cut off a last line that a full disk or a kill left half-written."""
    lock.acquire()
    if journal.exists() and (content := journal.read_bytes()) and not content.endswith(b"\n"):
        os.truncate(journal, content.rfind(b"\n") + 1)
    lock.release()
