"""Claims: what holds, what fails, what is noise, and what a control refutes."""

import math

import pytest

from triad.claims.claim import Claim, conclude
from triad.claims.conclusion import judge
from triad.claims.expectations import Difference, Level, Ratio


def claim(expects: list, arms: str = "old new", **more) -> Claim:
    words = {name: [f"model.depth={depth}"] for depth, name in enumerate(arms.split(), 1)}
    texts = {"paper": "p", "where": "w", "theirs": "t", "guard": "g", "measure": lambda run: 0.0}
    return Claim(**({"arms": words, "expects": expects, "control": {"new": ["x=1"]}} | texts | more))


@pytest.mark.parametrize(
    ("values", "verdict"),
    [([0.9, 0.95, 1.0], "holds"), ([0.1, 0.2, 0.89], "fails"), ([0.95, 0.85, 0.95], "within noise")],
)
def test_a_level_is_judged_seed_by_seed(values: list[float], verdict: str) -> None:
    assert Level("new", at_least=0.9).judge({"new": values}).verdict == verdict


def test_a_ratio_compares_the_runs_of_one_seed() -> None:
    figures = {"new": [1.0, 2.0, 3.0], "old": [5.0, 10.0, 15.0]}
    assert Ratio("new", "old", at_most=0.2).judge(figures).verdict == "holds"
    assert Ratio("new", "old", at_most=0.19).judge(figures).verdict == "fails"


def test_what_is_never_reached_is_slower_than_anything_but_not_than_the_same() -> None:
    never = [math.inf] * 3
    assert Ratio("old", "new", at_least=5).judge({"old": never, "new": [10.0] * 3}).verdict == "holds"
    assert Ratio("old", "new", at_least=5).judge({"old": never, "new": never}).verdict == "fails"


def test_a_difference_is_measured_in_pooled_standard_deviations() -> None:
    # Cohen's d of these samples, by hand: means 3 and 1, variances 1 and 1
    figures = {"new": [2.0, 3.0, 4.0], "old": [0.0, 1.0, 2.0]}
    assert "2 s.d." in Difference("new", "old", at_least=2).judge(figures).effect
    assert Difference("new", "old", at_least=2).judge(figures).verdict == "holds"
    assert Difference("new", "old", at_least=2.1).judge(figures).verdict == "within noise"
    assert Difference("old", "new", at_least=2).judge(figures).verdict == "fails"
    assert Difference("new", "old", at_most=1).judge(figures).verdict == "fails"


def test_a_claim_whose_control_holds_too_fails() -> None:
    one = claim([Level("new", at_least=0.9)])
    figures = {"old": [0.1] * 3, "new": [1.0] * 3}
    assert judge(one, figures | {"control": [0.1] * 3})[0] == "holds"
    verdict, _, control = judge(one, figures | {"control": [0.95] * 3})
    assert (verdict, control) == ("fails", "holds")


def test_the_worst_finding_is_the_verdict() -> None:
    good = Level("new", at_least=0.0).judge({"new": [1.0] * 3})
    noise = Level("new", at_least=1.0).judge({"new": [1.0, 0.9, 1.0]})
    bad = Level("new", at_least=2.0).judge({"new": [1.0] * 3})
    assert conclude([good]) == "holds"
    assert conclude([good, noise]) == "within noise"
    assert conclude([good, noise, bad]) == "fails"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"seeds": 2}, "claim.seeds=2"),
        ({"control": {"other": ["x=1"]}}, "other is no arm"),
        ({"control": {}}, "a control of one arm"),
        ({"expects": [Level("third", at_least=1)]}, "third is no arm"),
        ({"expects": []}, "needs an expectation"),
    ],
)
def test_what_cannot_be_checked_is_refused(more: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        claim(**({"expects": [Level("new", at_least=1)]} | more))


def test_a_threshold_is_from_one_side() -> None:
    with pytest.raises(ValueError, match="one of at_least and at_most"):
        Level("new", at_least=1, at_most=2)
