"""Every process holds and sends what the formulas say, for every strategy whose messages have one."""

from pathlib import Path

import pytest

from tests.warm import WarmProcess
from triad.verify.matrix import LAYOUTS, Case
from triad.verify.runner import Result, run_cases

FOLDED = ("interleaved", "zero_bubble", "zbv", "dualpipev")  # two stages a process
FOUR = ("hsdp", "shard 2 x tensor 2")
CASES = [
    Case(
        layout,
        model,
        parts,
        "windows",
        checkpointing=False,
        compile=False,
        precision=layout.precision,
    )
    for layout in LAYOUTS
    if layout.ranks <= 2 or layout.name in FOUR
    for model, parts in (("moe", 2) if layout.name == "expert" else ("decoder", 3),)
]


# related to a layout that is among the quick ones
SLOW = ("gpipe", "interleaved", "zero_bubble", "dualpipev", "zero 2", "zero 3", "tensor, sequence")


@pytest.fixture(scope="module")
def results(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cache: Path, warm: WarmProcess
) -> dict[Case, Result]:
    """Those that are asked for, in one launch for each world size."""
    asked = [
        item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")
    ]
    cases = [item.callspec.params["case"] for item in asked]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIAD_CACHE", str(cache))
        results = warm.call(run_cases, cases, tmp_path_factory.mktemp("closed-form"))
    return {result.case: result for result in results}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.slow if case.layout.name in SLOW else []) for case in CASES],
    ids=lambda case: case.name,
)
def test_bytes_held_and_messages_sent_are_those_of_the_formula(
    results: dict[Case, Result], case: Case
) -> None:
    assert results[case].verdict == "equal"
    unsent = (*FOLDED, "zero 1", "zero 2", "zero 3")
    assert results[case].traffic == ("held by formula" if case.layout.name in unsent else "as by formula")
