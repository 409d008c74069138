"""One format for every layout: what is saved in one goes on in any other as if nothing had been."""

from itertools import product
from pathlib import Path

import pytest

from tests.checkpoints.moved import PLACES, Move, covering, moved

COVERING = covering()
LOST = Move(PLACES[0], PLACES[0], forgetful=True)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> dict[Move, str]:
    """The covering subset, in one launch for each world size and part."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIAD_CACHE", str(cache))
        return moved([*COVERING, LOST], tmp_path_factory.mktemp("moved"))


@pytest.mark.timeout(600)  # the first test trains them all
@pytest.mark.parametrize("move", COVERING, ids=lambda move: move.name)
def test_a_run_goes_on_in_another_layout(outcomes: dict[Move, str], move: Move) -> None:
    if outcomes[move].startswith("refused"):
        pytest.skip(outcomes[move])
    assert outcomes[move] == "equal"


def test_lost_moments_would_have_been_seen(outcomes: dict[Move, str]) -> None:
    assert "of step 6 is" in outcomes[LOST] or "of step 5 is" in outcomes[LOST]


def test_the_subset_saves_and_continues_in_every_layout_and_changes_the_number_of_processes() -> None:
    for side in ("before", "after"):
        assert {getattr(move, side) for move in COVERING} == set(PLACES)
    ranks = {(move.before.ranks, move.after.ranks) for move in COVERING}
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
