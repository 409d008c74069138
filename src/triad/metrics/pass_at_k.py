"""pass@k: the chance that of k programs that a model writes one passes the tests of its task."""

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import comb
from typing import Any, Literal

import numpy as np

from triad.layers.ranges import PositiveInt
from triad.metrics.confinement import find_missing
from triad.metrics.sandbox import run_program, tell_missing


class PassAtK:
    """pass@k, 0 to 1, without bias, by tests that run confined (Chen et al. 2021, arXiv:2107.03374, eq. 1).

        pass@k = mean over tasks of 1 - C(n - c, k) / C(n, k)

    n programs of a task were drawn, c of them pass. A prediction is the list of what was written behind the
    `prompt` of a task, and what tests it has `test` and, where the tests are a function check(candidate) as
    HumanEval's are, `entry_point`. A program passes if it and its tests come to their end within `seconds` of
    processor time and `memory_bytes`. Where a task has fewer than k programs pass@k has no value and is left
    out. Raises ValueError where the kernel cannot confine programs.
    """

    needs = {"task.predicts": ("a program",)}
    confines = True  # asks the machine for what triad.metrics.confinement has
    higher_is_better: tuple[str, ...] = (
        "pass@1",
        "pass@2",
        "pass@5",
        "pass@10",
        "pass@20",
        "pass@50",
        "pass@100",
    )

    def __init__(
        self, k: list[Literal[1, 2, 5, 10, 20, 50, 100]], seconds: PositiveInt, memory_bytes: PositiveInt
    ) -> None:
        if missing := find_missing():
            raise ValueError(tell_missing(missing))
        self.k, self.seconds, self.memory_bytes = [*dict.fromkeys(k)], seconds, memory_bytes
        self.higher_is_better = tuple(f"pass@{one}" for one in self.k)
        self.size = 1 + 2 * len(self.k)

    def count(self, prediction: Sequence[str], references: Sequence[Mapping[str, Any]]) -> Sequence[float]:
        """One task; for each k its estimate, and whether it has fewer programs than that."""
        (tests,) = references
        passed = self._run([join_program(tests, completion) for completion in prediction])
        return self.count_passed(len(passed), sum(passed))

    def count_passed(self, drawn: int, passed: int) -> Sequence[float]:
        """The statistics of a task of which this many programs were drawn, and have passed."""
        few = [drawn < k for k in self.k]
        return [1.0, *(estimate(drawn, passed, k) if drawn >= k else 0.0 for k in self.k), *few]

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        tasks, estimates, few = sums[0], sums[1 : 1 + len(self.k)], sums[1 + len(self.k) :]
        for k in (k for k, lacking in zip(self.k, few, strict=True) if lacking):
            warnings.warn(f"pass@{k} is left out: a task has fewer than {k} programs", stacklevel=2)
        return {
            f"pass@{k}": float(estimate / tasks) if tasks else math.nan
            for k, estimate, lacking in zip(self.k, estimates, few, strict=True)
            if not lacking
        }

    def _run(self, programs: list[str]) -> list[bool]:
        """Which of them pass; equal ones are run once, as many at a time as there are cores."""
        different = [*dict.fromkeys(programs)]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            outcomes = pool.map(lambda one: run_program(one, self.seconds, self.memory_bytes), different)
            passed = {program: one.passed for program, one in zip(different, outcomes, strict=True)}
        return [passed[program] for program in programs]


def estimate(drawn: int, passed: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k), of whole numbers. Raises ValueError for fewer than k programs."""
    if drawn < k:
        raise ValueError(f"pass@{k} of {drawn} programs: draw {k} at least")
    return 1 - comb(drawn - passed, k) / comb(drawn, k)


def join_program(tests: Mapping[str, Any], completion: str) -> str:
    """A prompt, what was written behind it, and its tests."""
    call = f"check({tests['entry_point']})\n" if tests.get("entry_point") else ""
    return f"{tests['prompt']}{completion}\n{tests['test']}\n{call}"
