"""One format for every layout: what is saved in one goes on in any other as if nothing had been."""

from itertools import product
from pathlib import Path

import pytest

from tests.checkpoints.moved import PLACES, Move, covering, moved
from tests.warm import WarmProcess

COVERING = covering()
# the moves of `make test`: each layout on one side, and every change of the number of processes
CHAIN = [COVERING[4 * turn % len(COVERING)] for turn in range(len(COVERING))]  # each sets out where one ended
QUICK = [*CHAIN[::2], next(move for move in COVERING if move.before.name == "expert")]
LOST = Move(PLACES[0], PLACES[0], forgetful=True)


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cache: Path, warm: WarmProcess
) -> dict[Move, str]:
    """Those of the covering subset that are asked for, in one launch for each world size and part."""
    items = [item for item in request.session.items if item.path == request.path]
    asked = [item.callspec.params.get("move") for item in items if hasattr(item, "callspec")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIAD_CACHE", str(cache))
        return warm.call(moved, [*filter(None, asked), LOST], tmp_path_factory.mktemp("moved"))


@pytest.mark.timeout(600)  # the first test trains them all
@pytest.mark.parametrize(
    "move",
    [pytest.param(move, marks=[] if move in QUICK else pytest.mark.slow) for move in COVERING],
    ids=lambda move: move.name,
)
def test_a_run_goes_on_in_another_layout(outcomes: dict[Move, str], move: Move) -> None:
    if outcomes[move].startswith("refused"):
        pytest.skip(outcomes[move])
    assert outcomes[move] == "equal"


def test_lost_moments_would_have_been_seen(outcomes: dict[Move, str]) -> None:
    assert "of step 6 is" in outcomes[LOST] or "of step 5 is" in outcomes[LOST]


def test_the_subset_saves_and_continues_in_every_layout_and_changes_the_number_of_processes() -> None:
    for side in ("before", "after"):
        assert {getattr(move, side) for move in COVERING} == set(PLACES)
    assert {layout for move in QUICK for layout in (move.before, move.after)} == set(PLACES)
    ranks = {(move.before.ranks, move.after.ranks) for move in QUICK}
    assert {(1, 2), (2, 1), (2, 4), (4, 2)} <= ranks


@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("model", ["decoder", "moe", "lstm", "gpt2"])
def test_every_pair_of_layouts(tmp_path: Path, model: str) -> None:
    outcomes = moved((Move(before, after, model) for before, after in product(PLACES, PLACES)), tmp_path)
    wrong = {
        move.name: said
        for move, said in outcomes.items()
        if said != "equal" and not said.startswith("refused")
    }
    assert wrong == {}
