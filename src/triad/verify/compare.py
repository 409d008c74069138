"""Comparing two runs: losses, loads, norms, every gradient and every weight."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from triad.runs.directory import Run

FIGURES = {
    "loss": "train/loss",
    "auxiliary": "train/auxiliary",
    "norm": "train/gradient_norm",
    "val": "val/loss",
}


class Deviation(NamedTuple):
    """The largest relative deviation between two runs by kind, and the first above the tolerance, or None."""

    worst: dict[str, float]
    first: str | None


def compare_runs(run: Run, reference: Run, tolerance: float) -> Deviation:
    """Compare what every process of `run` recorded with the one process of `reference`."""
    worst: dict[str, float] = {}
    first = None
    for kind, what, apart in _iterate_deviations(run, reference, floor=10 * tolerance):
        worst[kind] = max(worst.get(kind, 0.0), apart)
        if not apart <= tolerance and first is None:
            first = f"{what} is {apart:.1e} off"
    return Deviation(worst, first)


def _iterate_deviations(run: Run, reference: Run, floor: float) -> Iterator[tuple[str, str, float]]:
    """All deviations in the order of computation: kind, name, relative size."""
    yield from _compare_metrics(run.metrics(), reference.metrics())
    if floor < 1e-6:  # in fp32 rounding may change the likeliest word
        samples = (at.samples_file for at in (run, reference))
        texts = [file.read_text(encoding="utf-8") if file.is_file() else "" for file in samples]
        yield "sample", "the text sampled at validation", 0.0 if texts[0] == texts[1] else math.inf
    (one,) = _read_records(reference)
    many = _read_records(run)
    for step, load_LE in enumerate(one["loads"]):
        if load_LE.numel():
            worst = max(distance(record["loads"][step], load_LE, 0.0) for record in many)
            yield "load", f"the experts' load of step {step + 1}", worst
    for step, gradients in enumerate(one["gradients"]):
        held = [record["gradients"][step] for record in many]
        yield from _compare_tensors("gradient", f" of step {step + 1}", gradients, held, floor)
    yield from _compare_tensors("weight", "", one["weights"], [record["weights"] for record in many], floor)


def _compare_metrics(many: list[dict], one: list[dict]) -> Iterator[tuple[str, str, float]]:
    if len(many) != len(one):
        yield "loss", f"the number of steps ({len(many)} for {len(one)})", math.inf
    for ours, theirs in zip(many, one, strict=False):
        for kind, key in FIGURES.items():
            if key in theirs:
                apart = abs(ours.get(key, math.nan) - theirs[key]) / (abs(theirs[key]) + 1e-12)
                yield kind, f"{key} of step {theirs['step']}", apart if math.isfinite(apart) else math.inf


def _compare_tensors(
    kind: str, when: str, one: dict[str, Tensor], many: list[dict[str, Tensor]], floor: float
) -> Iterator[tuple[str, str, float]]:
    # a tensor that is zero in exact arithmetic, such as the gradient of the keys' bias, is rounding only
    floor *= max(float(tensor.abs().max()) for tensor in one.values())
    for name, tensor in one.items():
        held = [tensors[name] for tensors in many if name in tensors]
        apart = max((distance(ours, tensor, floor) for ours in held), default=math.inf)
        yield kind, f"the {kind} of {name}{when}", apart
    for name in {name for tensors in many for name in tensors} - one.keys():
        yield kind, f"{name}, which one process does not have,", math.inf


def distance(ours: Tensor, theirs: Tensor, floor: float) -> float:
    """The largest difference over the largest number of the second and a floor; infinite for other shapes."""
    if ours.shape != theirs.shape:
        return math.inf
    apart = float(
        (ours.double() - theirs.double()).abs().max() / (theirs.abs().max().double() + floor + 1e-30)
    )
    return apart if math.isfinite(apart) else math.inf


def _read_records(run: Run) -> list[dict[str, Any]]:
    return [torch.load(path, weights_only=True) for path in sorted(run.record.glob("rank-*.pt"))]
