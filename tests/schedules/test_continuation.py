"""What a schedule does behind its end, from a later step on, and what is said of it when a run goes on."""

import math
import subprocess
import sys

import pytest

from triad.config.build import build
from triad.config.offers import read_choices
from triad.config.schema import is_class
from triad.schedules.refusals import describe_continuation, make_rate

FUNCTIONS = [name for name, node in read_choices("scheduler").items() if not is_class(node["_target_"])]
LR = 0.004


def config(name: str, steps: int, **changes: float) -> dict:
    """As much of a configuration as tells the learning rate."""
    node = read_choices("scheduler")[name] | {"steps": steps} | changes
    return {"scheduler": node, "optimizer": {"lr": LR}, "trainer": {"max_steps": steps}}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_behind_its_end_a_schedule_stays_or_goes_on_as_it_did(name: str) -> None:
    made = build(config(name, 100)["scheduler"])
    behind = [made(step) for step in range(100, 300)]
    if name == "cyclic":  # of 25 steps
        assert behind == pytest.approx([made(step) for step in range(50, 75)] * 8)
    elif name == "inverse_sqrt":  # of 5 steps of warm-up
        assert behind == pytest.approx([math.sqrt(5 / (step + 1)) for step in range(100, 300)])
    else:
        node = config(name, 100)["scheduler"]
        assert behind == pytest.approx([float(node.get("final", 1.0))] * 200)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_schedule_that_begins_later_is_that_of_the_steps_which_are_left(name: str) -> None:
    later = build(config(name, 100, **{"from": 40})["scheduler"])
    alone = build(config(name, 60)["scheduler"])
    assert [later(step) for step in range(40, 130)] == [alone(step) for step in range(90)]
    assert {later(step) for step in range(40)} == {alone(0)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_run_that_goes_on_as_it_was_meant_to_says_nothing(name: str) -> None:
    before = config(name, 100)
    assert all(not describe_continuation(before, before, step) for step in (1, 50, 99, 100))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_longer_run_is_told_what_the_rate_does_and_words_that_do_otherwise(name: str) -> None:
    before, now = config(name, 100), config(name, 200)
    rate_before, rate = make_rate(before), make_rate(now)
    assert rate_before
    assert rate
    old, new = rate_before(100), rate(100)
    said = describe_continuation(before, now, 100)
    assert bool(said) == (abs(new - old) > 0.02 * max(old, new))
    if not said:
        return
    assert said[0].startswith(
        f"learning rate: {old:.3g} at step 100 (its schedule ended); {new:.3g} from here on"
    )
    assert ("rising" in said[0]) == any(rate(step) > 1.02 * new for step in range(100, 200))
    for line in said[1:]:
        words = dict(word.split("=") for word in line.split() if "=" in word)
        meant = config(words["scheduler"], 200, **{"from": int(words["scheduler.from"])})
        meant["optimizer"]["lr"] = float(words["optimizer.lr"])
        other = make_rate(meant)
        assert other
        highest = max(map(other, range(100, 200)))
        assert highest == pytest.approx(float(words["optimizer.lr"]))
        assert 0 < highest <= max(old, LR / 10) * 1.01
        assert len(describe_continuation(before, meant, 100)) <= 1


def test_a_schedule_with_state_and_one_of_another_package_are_passed_over() -> None:
    assert make_rate(config("plateau", 100)) is None
    own = config("linear", 100) | {"scheduler": {"_target_": "mine.falls", "steps": 100}}
    assert describe_continuation(own, config("linear", 200), 100) == []
    assert describe_continuation({"seed": 0}, config("linear", 200), 100) == []


def test_a_function_of_the_step_needs_no_torch_as_a_start_asks_it_before_torch_is_imported() -> None:
    modules = {read_choices("scheduler")[name]["_target_"].rpartition(".")[0] for name in FUNCTIONS}
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_key_that_is_a_word_of_python_is_an_argument_and_stays_in_a_plain_value() -> None:
    node = config("linear", 100, **{"from": 40})["scheduler"]
    assert build(node).keywords["from_"] == 40
    assert build([{"from": 6, "weights": {"a": 1}}]) == [{"from": 6, "weights": {"a": 1}}]
