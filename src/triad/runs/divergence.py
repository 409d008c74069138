"""Where the curves of two runs diverge: the first metric in which their metrics.csv differ."""

import math
from collections.abc import Iterator
from typing import NamedTuple

Row = dict[str, float]


class Divergence(NamedTuple):
    """A figure of a step in two runs."""

    step: int
    key: str
    ours: float
    theirs: float

    @property
    def apart(self) -> float:
        """The difference over the larger of the two; 0 where both are not a number, infinite where one is."""
        if self.ours == self.theirs or (math.isnan(self.ours) and math.isnan(self.theirs)):
            return 0.0
        apart = abs(self.ours - self.theirs) / max(abs(self.ours), abs(self.theirs))
        return apart if math.isfinite(apart) else math.inf

    def __str__(self) -> str:
        return f"{self.key} of step {self.step}: {self.ours!r} and {self.theirs!r} ({self.apart:.1e} apart)"


def pair_figures(ours: list[Row], theirs: list[Row]) -> Iterator[Divergence]:
    """Every figure that both have, step by step, the loss first; not what speed and time the machine had."""
    steps = {row["step"]: row for row in theirs}
    for row in ours:
        other = steps.get(row["step"], {})
        common = [key for key in row if key in other and key != "step" and not key.startswith("perf/")]
        for key in sorted(common, key=lambda key: (not key.endswith("/loss"), key)):
            yield Divergence(int(row["step"]), key, row[key], other[key])


def find_first(figures: list[Divergence], tolerance: float = 0.0) -> Divergence | None:
    """The first figure whose difference exceeds the tolerance, or None."""
    return next((figure for figure in figures if figure.apart > tolerance), None)


def describe(figures: list[Divergence], tolerance: float) -> Iterator[str]:
    """Lines that say where two curves diverge."""
    steps = len({figure.step for figure in figures})
    if not figures:
        yield "no step was logged by both"
    elif (exactly := find_first(figures)) is None:
        yield f"equal bit for bit in all {len(figures)} figures of the {steps} steps that both logged"
    else:
        yield f"the first bit that differs is in {exactly}"
        beyond = find_first(figures, tolerance)
        if beyond != exactly:
            yield f"the first beyond {tolerance:g} is {beyond}" if beyond else f"none is beyond {tolerance:g}"
