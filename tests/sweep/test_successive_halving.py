"""Early termination judges as Optuna's successive halving does, and again alike after a kill."""

import random
from typing import Literal

import optuna
import pytest
from optuna.pruners import BasePruner, SuccessiveHalvingPruner

from triad.sweep.successive_halving import Halving
from triad.sweep.sweep_file import Rungs

Goal = Literal["minimize", "maximize"]


def ends(pruner: BasePruner, goal: Goal, curves: list[list[float]], twice: bool = False) -> list[int | None]:
    """After how many values each trial is ended, None for those that are not."""
    study = optuna.create_study(direction=goal, pruner=pruner)
    found: list[int | None] = []
    for curve in curves:
        trial = study.ask()
        for step, value in enumerate(curve, 1):
            trial.report(value, step)
            if twice:
                trial.should_prune()
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, curve[-1])
        found.append(step if step < len(curve) else None)
    return found


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
@pytest.mark.parametrize("eta", [2, 3])
def test_trials_end_where_optunas_own_pruner_ends_them(goal: Goal, eta: int) -> None:
    chance = random.Random(eta)
    curves = [[chance.gauss(0, 1) + k / 9 for k in range(13)] for _ in range(40)]
    theirs = ends(SuccessiveHalvingPruner(min_resource=2, reduction_factor=eta), goal, curves)
    ours = Halving(Rungs(tuple(2 * eta**k for k in range(9)), eta))
    assert ends(ours, goal, curves) == theirs
    assert ends(ours, goal, curves, twice=True) == theirs
    assert {None, 2, 2 * eta} <= {*theirs}
