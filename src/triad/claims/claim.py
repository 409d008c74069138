"""What a paper claims, in a form that a command can check.

An experiment's YAML has it under `claim:`. Its arms are settings of the experiment, each trained with several
seeds; a measure makes one number of a run; expectations compare the numbers of the arms with thresholds that
stand there before anything has run. The control is the same comparison with the claimed cause switched off:
where it holds, too, something else was measured.
"""

import math
from collections.abc import Callable, Mapping
from statistics import fmean, stdev
from typing import Any, Literal, NamedTuple

Verdict = Literal["holds", "fails", "within noise"]
Figures = Mapping[str, list[float]]  # the numbers of each arm, by seed


class Finding(NamedTuple):
    """What became of one expectation: in words, the effect over the seeds, and the verdict."""

    expectation: str
    effect: str
    verdict: Verdict


class Claim:
    """A claim of a paper, its miniature and what would refute it.

    `paper` and `where` say where it is read, `theirs` what stands there, in their setting. `arms` are words
    for the experiment, by name; `control` are words that take the place of those of one arm, and with which
    the expectations must not all hold. `equal` are metrics of the results, such as train/flops, in which all
    arms are alike up to a share. `guard` is the test that would see the claim's cause break.

    Raises ValueError for an expectation or a control of an arm that there is not, and for fewer than 3 seeds.
    """

    def __init__(
        self,
        paper: str,
        where: str,
        theirs: str,
        arms: dict[str, list[str]],
        measure: Callable[[Any], float],
        expects: list[Any],
        control: dict[str, list[str]],
        guard: str,
        seeds: int = 3,
        equal: dict[str, float] | None = None,
        quick: bool = False,
    ) -> None:
        self.paper, self.where, self.theirs, self.guard = paper, where, theirs, guard
        self.arms, self.measure, self.expects, self.control = arms, measure, expects, control
        self.seeds, self.equal, self.quick = seeds, equal or {}, quick
        asked = {name for expected in expects for name in expected.arms} | {*control}
        for name in sorted(asked - {*arms}):
            raise ValueError(f"claim: {name} is no arm: there are {', '.join(arms)}")
        if len(control) != 1 or not expects:
            raise ValueError("claim: it needs an expectation, and a control of one arm that must fail")
        if seeds < 3:
            raise ValueError(f"claim.seeds={seeds}: fewer than 3 say nothing about noise")

    def judge(self, figures: Figures) -> list[Finding]:
        """The finding of each expectation."""
        return [expected.judge(figures) for expected in self.expects]


def conclude(findings: list[Finding]) -> Verdict:
    """The verdict of all together: the worst."""
    verdicts = {finding.verdict for finding in findings}
    return "fails" if "fails" in verdicts else "within noise" if "within noise" in verdicts else "holds"


def describe(values: list[float]) -> str:
    """The mean and the sample standard deviation of some numbers."""
    if any(not math.isfinite(value) for value in values):
        return " ".join(f"{value:.4g}" for value in values)
    return f"{fmean(values):.4g} ± {stdev(values):.2g}"
