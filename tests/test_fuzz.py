"""Random mistakes are answered: see tests/fuzz.py."""

from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.fuzz import GOOD, draw_cases, judge, run_cases


@pytest.mark.parametrize(
    ("seed", "n", "steps"),
    [
        (0, 24, 0),
        pytest.param(0, 40, 0, marks=pytest.mark.slow),
        pytest.param(1, 500, 0, marks=pytest.mark.slow),
        pytest.param(2, 100, 2, marks=pytest.mark.slow),
    ],
)
def test_random_overrides_run_or_are_refused_in_one_sentence(warm, tmp_path: Path, seed, n, steps) -> None:
    counts = run_cases(warm, seed, n, steps, tmp_path)
    assert counts.keys() <= {*GOOD}
    assert min(counts[kind] for kind in GOOD) >= max(1, n // 20)


def test_the_cases_follow_from_the_seed() -> None:
    assert list(draw_cases(3, 9)) == list(draw_cases(3, 9)) != list(draw_cases(4, 9))


@pytest.mark.parametrize(
    ("code", "said", "kind"),
    [
        (0, "", "ran"),
        (2, "error: model.width=0: must be at least 1", "refused"),
        (1, "error: in layers.norm: KeyError: 3", "code 1"),
        (2, "error: model: TypeError: no number", "unexplained"),
        (2, "error: one\nerror: two", "2 sentences"),
        (2, "Traceback (most recent call last):\nerror: x", "traceback"),
        (139, "", "code 139"),
    ],
)
def test_what_ends_badly_is_seen(code: int, said: str, kind: str) -> None:
    assert judge(CompletedProcess([], code, "", said)).kind == kind
