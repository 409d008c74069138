"""Eight mistakes that training programs have really made, each put into a process for one run.

`python mutants.py BUG/RUN...` is triad.verify.worker with one law broken in each run.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor

from triad.data.batches import ValBatches
from triad.data.packing import IGNORED
from triad.launch.rank import exit_together
from triad.launch.supervisor import launch
from triad.layers.moe import MixtureOfExperts
from triad.layers.routing import auxiliary_loss
from triad.optim import gradient as gradients
from triad.runs.directory import Run
from triad.tasks import module
from triad.tasks.module import Training
from triad.verify.compare import Deviation, compare_runs
from triad.verify.matrix import Case
from triad.verify.runner import TOLERANCE, prepare_case, run_cases, write_corpus
from triad.verify.worker import main

Patch = pytest.MonkeyPatch


def auxiliary_loss_divided_by_the_data_parallel_size(patch: Patch) -> None:
    _after_losses(
        patch, lambda task, batch, x, nll, auxiliary: (nll, auxiliary / task.trainer.strategy.data_ranks)
    )


def auxiliary_coefficient_ignored_under_accumulation(patch: Patch) -> None:
    def ignored(task: Any, batch: dict, x: Tensor, nll: Tensor, auxiliary: Tensor) -> tuple[Tensor, Tensor]:
        return nll, auxiliary if len(x) == len(batch["tokens_BT"]) else auxiliary / 0.01

    _after_losses(patch, ignored)


def mean_of_the_means_of_micro_batches(patch: Patch) -> None:
    def mean(task: Any, batch: dict, x: Tensor, nll: Tensor, auxiliary: Tensor) -> tuple[Tensor, Tensor]:
        here = batch["targets_BT"]
        rows = here.split(task.hardware.rows(here))
        mine = next(part for part in task.left if part.shape == x.shape)
        task.left = [part for part in task.left if part is not mine]
        shares = len(rows) * task.trainer.strategy.data_ranks
        return nll / (mine != IGNORED).sum() / shares * batch["count"], auxiliary

    _after_losses(patch, mean)


def norm_of_a_shard_taken_for_the_whole(patch: Patch) -> None:
    patch.setattr(gradients, "_norm_over_axes", lambda norms, spread: norms)


def last_partial_micro_batch_dropped(patch: Patch) -> None:
    accumulate = Training.accumulate

    def dropping(self: Any, batch: dict) -> Any:
        rows = self.hardware.rows(batch["tokens_BT"])
        whole = len(batch["tokens_BT"]) // rows * rows
        return accumulate(self, batch | {key: batch[key][:whole] for key in ("tokens_BT", "targets_BT")})

    patch.setattr(Training, "accumulate", dropping)


def initial_weights_that_differ_between_processes(patch: Patch) -> None:
    initialise = module.initialise
    rank = int(os.environ["RANK"])
    patch.setattr(module, "initialise", lambda model, seed, *rest: initialise(model, seed + rank, *rest))


def validation_rows_counted_twice(patch: Patch) -> None:
    """What a sampler does that fills the last batch up with rows of the beginning."""
    batch = ValBatches.batch

    def filled(self: ValBatches, step: int) -> dict:
        found = batch(self, step)
        if self.ranks > 1:
            first = batch(self, 0)
            empty = found["targets_BT"] == IGNORED
            for key in ("tokens_BT", "targets_BT"):
                found[key] = torch.where(empty, first[key], found[key])
        return found

    patch.setattr(ValBatches, "batch", filled)


def loss_counted_twice_under_recomputation(patch: Patch) -> None:
    """Auxiliary losses left in a ledger by the layers: computing a block again writes them again."""
    ledger: list[Tensor] = []
    forward = MixtureOfExperts.forward

    def noted(self: Any, *arguments: Any) -> Any:
        y_BTD, routing = forward(self, *arguments)
        if routing is not None:
            ledger.append(routing.terms_BA)
        return y_BTD, routing

    def read(task: Any, batch: dict, x: Tensor, nll: Tensor, auxiliary: Tensor) -> tuple[Tensor, Tensor]:
        layers = sum(isinstance(layer, MixtureOfExperts) for layer in task.model.modules())
        again, fresh = ledger[:-layers], ledger[-layers:]
        ledger.clear()
        twice = sum(auxiliary_loss(entry.detach()).sum() for entry in again)
        return nll, auxiliary_loss(sum(fresh)).sum() + twice

    patch.setattr(MixtureOfExperts, "forward", noted)
    # torch stops computing again at the last tensor that backward needs, which hides what comes after it
    patch.setattr(torch.utils.checkpoint, "_enable_checkpoint_early_stop", False)
    _after_losses(patch, read)


def train_mutants(bugs: list[str], case: Case, words: tuple[str, ...], folder: Path) -> dict[str, Deviation]:
    """A case trained with each bug, against one process without it; one launch for them all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("triad.verify.runner.SMALL", words)
        assert not run_cases([case], folder)[0].wrong  # unbroken, the same case is green
        runs = [prepare_case(case, folder / bug, write_corpus(folder))[1] for bug in bugs]
        assert launch([sys.executable, __file__, *map(str, runs)], case.layout.ranks, threads=1) == 0
    reference = Run(folder / case.reference.name)
    return {run.parent.name: compare_runs(Run(run), reference, TOLERANCE[case.precision]) for run in runs}


def _after_losses(patch: Patch, change: Callable) -> None:
    """Have the losses of each micro-batch of training changed."""
    losses, accumulate = Training.losses, Training.accumulate

    def accumulating(self: Any, batch: dict) -> Any:
        self.batch = batch
        self.left = list(batch["targets_BT"].split(self.hardware.rows(batch["targets_BT"])))
        try:
            return accumulate(self, batch)
        finally:
            self.batch = None

    def changed(self: Any, x: Tensor, y: Tensor) -> Any:
        nll, auxiliary, load = losses(self, x, y)
        if getattr(self, "batch", None) is not None:
            nll, auxiliary = change(self, self.batch, x, nll, auxiliary)
        return nll, auxiliary, load

    patch.setattr(Training, "losses", changed)
    patch.setattr(Training, "accumulate", accumulating)


if __name__ == "__main__":
    for run in map(Path, sys.argv[1:]):
        with pytest.MonkeyPatch.context() as patch:
            globals()[run.parent.name](patch)
            main([run])
    exit_together(0)
