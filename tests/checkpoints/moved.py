"""Runs that are saved in one layout and go on in another, held against one process that never stopped."""

import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch

from triad.checkpoints.folder import find_checkpoint, read_facts
from triad.checkpoints.saving import write_checkpoint
from triad.checkpoints.tensors import load_tensors, read_index
from triad.config.compose import compose
from triad.config.errors import Refusal
from triad.runs.metrics import read_metrics
from triad.verify.matrix import LAYOUTS, SMALL, Layout
from triad.verify.runner import PROOF, TOLERANCE, prepare_fresh, train_all, write_corpus

SAVED, END = 4, 9  # steps: five after the move
NAMES = ("single", "ddp", "fsdp", "hsdp", "tensor", "expert", "context", "1f1b", "zbv")
NAMES += ("shard 2 x tensor 2", "pipeline 2 x shard 2", "zero 1", "zero 2", "zero 3")
PLACES = [layout for layout in LAYOUTS if layout.name in NAMES] + [Layout("ddp on 4", 4, "strategy=ddp")]
LOGGED = ("train/loss", "train/auxiliary", "train/gradient_norm", "train/lr", "train/tokens", "val/loss")


class Move(NamedTuple):
    """Saved in one layout, continued in another."""

    before: Layout
    after: Layout
    model: str = "moe"
    forgetful: bool = False  # the optimizer's first moments are lost on the way

    @property
    def name(self) -> str:
        lost = ", moments lost" if self.forgetful else ""
        return f"{self.model}: {self.before.name} -> {self.after.name}{lost}"

    @property
    def precision(self) -> str:
        """DeepSpeed keeps fp32 weights."""
        return "fp32" if "fp32" in (self.before.precision, self.after.precision) else "fp64"


def covering() -> list[Move]:
    """Each layout is saved in once and continued in once, with a partner that is not its neighbour."""
    return [Move(before, PLACES[(at + 4) % len(PLACES)]) for at, before in enumerate(PLACES)]


def moved(moves: Iterable[Move], folder: Path) -> dict[Move, str]:
    """What came of each move: "equal", or what departs first, or why it cannot be."""
    runs = _Runs(folder, write_corpus(folder))
    moves = list(moves)
    saved = {move: runs.prepared(move.before, move.model, move.precision, SAVED) for move in moves}
    straight = {move: runs.prepared(PLACES[0], move.model, move.precision, END) for move in moves}
    runs.train()
    gone_on = {}
    for move, run in saved.items():
        if isinstance(run, Path) and not runs.failed.get(run):
            gone_on[move] = runs.prepared(move.after, move.model, move.precision, END, run, move.forgetful)
    runs.train()
    return {
        move: _said(runs, saved[move], gone_on.get(move))
        or departs(gone_on[move], straight[move], move.precision)
        for move in moves
    }


class _Runs:
    """Run directories by what they are of, trained once each."""

    def __init__(self, folder: Path, corpus: Path) -> None:
        self.folder, self.corpus = folder, corpus
        self.made: dict[str, Path | str] = {}
        self.waiting: dict[int, list[Path]] = {}
        self.failed: dict[Path, str] = {}

    def prepared(
        self,
        layout: Layout,
        model: str,
        precision: str,
        steps: int,
        before: Path | None = None,
        forgetful: bool = False,
    ) -> Path | str:
        """A run that is to make so many steps, from another's checkpoint if there is one; or a refusal."""
        name = "-".join(f"{model} {layout.name} {precision} {steps}".split())
        name += (f"-from-{before.name}" if before else "") + ("-forgetful" if forgetful else "")
        if name not in self.made:
            try:
                self.made[name] = self._prepare(name, layout, model, precision, steps)
            except Refusal as error:
                self.made[name] = str(error)
            else:
                if before:
                    shutil.copytree(before / "checkpoints", self.made[name] / "checkpoints")
                if forgetful:
                    forget(self.made[name])
        return self.made[name]

    def _prepare(self, name: str, layout: Layout, model: str, precision: str, steps: int) -> Path:
        words = [
            *SMALL,
            *PROOF,
            "trainer.accelerator=cpu",
            *layout.words.split(),
            f"trainer.devices={layout.ranks}",
            f"model={model}",
        ]
        words += ["callbacks=[default]", "data=text", f"data.path={self.corpus}", f"precision={precision}"]
        words += [f"trainer.max_steps={steps}", f"trainer.val_check_interval={steps}"]
        words += [f"run_id={name}", f"output_dir={self.folder}"]
        run = prepare_fresh(compose(words), words)
        self.waiting.setdefault(layout.ranks, []).append(run)
        return run

    def train(self) -> None:
        for ranks, runs in sorted(self.waiting.items()):
            failed = train_all([str(run) for run in runs], ranks)
            self.failed |= {Path(run): said for run, said in failed}
        self.waiting = {}


def _said(runs: _Runs, saved: Path | str, gone_on: Path | str | None) -> str:
    """Why there is nothing to compare, or ""."""
    for run in (saved, gone_on):
        if isinstance(run, str):
            return f"refused: {run}"
        if run and (failed := runs.failed.get(run)):
            return failed
    return ""


def departs(run: Path, reference: Path, precision: str) -> str:
    """The first figure or tensor in which a moved run departs from the one that never stopped, or "equal"."""
    tolerance = TOLERANCE[precision]
    wanted = {row["step"]: row for row in read_metrics(reference / "metrics.csv")}
    found = {row["step"]: row for row in read_metrics(run / "metrics.csv")}
    if found.keys() != set(range(SAVED + 1, END + 1)):
        return f"steps {sorted(found)}"
    for step, row in found.items():
        for key in LOGGED:
            if (key in row) != (key in wanted[step]):
                return f"{key} of step {step} is not there"
            if key in row and not math.isclose(row[key], wanted[step][key], rel_tol=tolerance, abs_tol=1e-12):
                return f"{key} of step {step} is {row[key]!r}, not {wanted[step][key]!r}"
    ours, theirs = everything(run), everything(reference)
    if ours.keys() != theirs.keys():
        return f"{min(ours.keys() ^ theirs.keys())} is in one checkpoint only"
    largest: dict[str, float] = {}
    for name, tensor in theirs.items():
        largest[_kind(name)] = max(largest.get(_kind(name), 0.0), float(tensor.abs().max()))
    for name, tensor in theirs.items():
        floor = 10 * tolerance * largest[_kind(name)]  # what is zero in truth is nothing but rounding
        apart = float((ours[name].double() - tensor.double()).abs().max())
        apart /= float(tensor.abs().max()) + floor + 1e-30
        if not apart <= tolerance:
            return f"{name} is {apart:.1e} off"
    return "equal"


def _kind(name: str) -> str:
    """`model`, or the optimizer's word for one of its states."""
    return name.rpartition(".")[2] if name.startswith("optimizer.") else "model"


def forget(run: Path) -> None:
    """Write a run's checkpoint anew, with nothing for the optimizer's first moments."""
    path, tensors = find_checkpoint(run), everything(run)
    lost = {name: tensor.zero_() for name, tensor in tensors.items() if name.endswith(".exp_avg")}
    assert lost
    write_checkpoint(path, by_kind(tensors), read_facts(path))


def everything(run: Path) -> dict[str, torch.Tensor]:
    """All that the last checkpoint of a run holds, weights and optimizer state, whole."""
    path = find_checkpoint(run)
    held = {name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in read_index(path).items()}
    load_tensors(path, by_kind(held))
    return held


def by_kind(tensors: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """`model`, `optimizer` and the like, and what is kept of each."""
    kinds: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, own = name.partition(".")
        kinds.setdefault(kind, {})[own] = tensor
    return kinds
