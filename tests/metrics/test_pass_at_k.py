"""pass@k by hand and by enumeration; HumanEval's own solutions pass."""

import gzip
import json
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from triad.metrics import confinement
from triad.metrics.pass_at_k import PassAtK, estimate

HUMANEVAL = Path(__file__).parents[3] / "shared" / "data" / "humaneval" / "HumanEval.jsonl.gz"
missing = confinement.find_missing()
pytestmark = pytest.mark.skipif(bool(missing), reason=f"needs {missing}")
ADD = {"prompt": "def add(a, b):\n", "test": "def check(f):\n    assert f(1, 2) == 3", "entry_point": "add"}


@pytest.mark.parametrize(("drawn", "passed"), [(1, 0), (1, 1), (5, 2), (6, 5), (7, 3)])
def test_the_estimate_is_the_share_of_all_choices_of_k_with_one_that_passes(drawn: int, passed: int) -> None:
    programs = [True] * passed + [False] * (drawn - passed)
    for k in range(1, drawn + 1):
        chosen = [any(some) for some in combinations(programs, k)]
        assert estimate(drawn, passed, k) == pytest.approx(
            float(Fraction(sum(chosen), len(chosen))), abs=1e-15
        )


def test_tasks_with_different_numbers_of_programs_are_averaged_and_too_few_have_no_value() -> None:
    metric = PassAtK([1, 5, 10, 20], 1, 1 << 29)
    counts = [(5, 0), (10, 3), (10, 10), (20, 1)]
    sums = np.sum([metric.count_passed(*count) for count in counts], axis=0)
    with pytest.warns(UserWarning, match="left out") as told:
        figures = metric.compute(sums)
    assert figures == {"pass@1": pytest.approx(27 / 80), "pass@5": pytest.approx(13 / 24)}
    assert [str(one.message) for one in told] == [
        "pass@10 is left out: a task has fewer than 10 programs",
        "pass@20 is left out: a task has fewer than 20 programs",
    ]
    assert np.isnan([*metric.compute(np.zeros(metric.size)).values()]).tolist() == [True] * 4


def test_fewer_programs_than_k_are_refused() -> None:
    with pytest.raises(ValueError, match=r"pass@10 of 5 programs: draw 10 at least"):
        estimate(5, 0, 10)


def test_many_programs_have_an_exact_estimate() -> None:
    assert estimate(10_000, 1, 100) == pytest.approx(0.01, rel=1e-12)


def test_programs_are_run_with_their_tests() -> None:
    metric = PassAtK([1, 2], 1, 1 << 29)
    completions = [
        "    return a + b\n",
        "    return a - b\n",
        "    return a + b\n",
        "    exit(0)\n",
        "  return",
    ]
    assert metric.compute(np.array(metric.count(completions, [ADD]))) == {
        "pass@1": pytest.approx(2 / 5),
        "pass@2": pytest.approx(1 - 3 / 10),
    }


def test_tests_that_are_statements_need_no_entry_point() -> None:
    metric = PassAtK([1], 1, 1 << 29)
    tests = {"prompt": "", "test": "assert double(2) == 4"}
    assert metric.compute(np.array(metric.count(["double = lambda x: 2 * x"], [tests]))) == {"pass@1": 1.0}
    assert metric.compute(np.array(metric.count(["double = lambda x: x"], [tests]))) == {"pass@1": 0.0}


@pytest.mark.slow
def test_the_solutions_of_humaneval_pass() -> None:
    if not HUMANEVAL.exists():
        pytest.skip("HumanEval is not on this machine")
    tasks = [json.loads(line) for line in gzip.decompress(HUMANEVAL.read_bytes()).splitlines()]
    metric = PassAtK([1], 20, 1 << 30)
    counts = [metric.count([task["canonical_solution"]], [task]) for task in tasks]
    assert np.sum(counts, axis=0).tolist() == [164, 164, 0]
    empty = [metric.count(["    pass\n"], [task]) for task in tasks[:20]]
    assert np.sum(empty, axis=0).tolist() == [20, 0, 0]
