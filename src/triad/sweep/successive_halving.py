"""Asynchronous successive halving over logged values, as an Optuna pruner.

A trial that logs its r-th value, r a rung, goes on if it is among the best 1/eta of all that came so far, and
always if it is the best.    Li et al. 2020, arXiv:1810.05934, algorithm 2 without paused trials.

Not optuna.pruners.SuccessiveHalvingPruner, which marks a rung as passed before it says no: a driver that is
killed between the two would let the trial pass when it comes back. This one is a function of the values.
"""

from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

from triad.sweep.sweep_file import Rungs


class Halving(BasePruner):
    """Judge a trial at its newest value. A trial's value at step r is its r-th, counted from 1."""

    def __init__(self, rungs: Rungs) -> None:
        self.rungs = rungs

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        rung = trial.last_step
        if rung not in self.rungs.values:
            return False
        sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
        came = [
            sign * t.intermediate_values[rung]
            for t in study.get_trials(False)
            if rung in t.intermediate_values
        ]
        better = sum(value < sign * trial.intermediate_values[rung] for value in came)
        return better >= max(1, len(came) // self.rungs.eta)
