"""Names of trials begin with what differs, are safe file names, and never collide."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from triad.runs.directory import make_wandb_id
from triad.runs.trial_names import make_sweep_id, make_trial_id

KEYS = ["optimizer", "optimizer.lr", "model.norm._target_", "data.path"]
NEAR = st.text(alphabet="aA-1e.é _", max_size=12)  # values that are alike once they are file names
VALUES = st.lists(NEAR | st.text(max_size=300) | st.floats().map(repr), min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["optimizer=adamw", "seed=0"], "optimizer-adamw-seed-0"),
        (["precision=bf16-mixed", "optimizer.lr=1e-05"], "precision-bf16-mixed-lr-1e-05"),
        (["model.a.heads=2", "model.b.heads=4"], "model.a.heads-2-model.b.heads-4"),
        (["data/clean=web", "+data@data.sources.mine=text"], "clean-web-mine-text"),
        (["optimizer.lr=0.0031622776601683795", "seed=1"], r"lr-0.003162-seed-1-\w{8}"),
        (["callbacks=[default,ema]"], r"callbacks-default-ema-\w{8}"),
        (["data.path='/home/ada/my books/a.txt'"], r"path-a.txt-\w{8}"),
        (["model.norm._target_=triad.layers.norm.LayerNorm"], r"norm-LayerNorm-\w{8}"),
        (["tags=" + "é" * 300], r"tags-\w{8}"),
        (["tags='$(rm -rf /);`x`'"], r"tags-[\w-]+-\w{8}"),
        ([], r"run-\w{8}"),
    ],
)
def test_a_trial_is_named_by_what_differs(words: list[str], name: str) -> None:
    assert re.fullmatch(name.replace(".", r"\.") if "\\" not in name else name, make_trial_id(words))


@given(VALUES, VALUES)
@example(["Adam"], ["adam"])
@example(["a-lr-b", "c"], ["a", "b-lr-c"])
@example(["a"], ["a-" + make_trial_id(["optimizer=A"])[-8:]])
def test_two_trials_have_one_name_only_if_their_words_are_the_same(one: list[str], other: list[str]) -> None:
    one, other = one[: len(other)], other[: len(one)]  # the trials of a sweep have the same keys
    first, second = (make_trial_id([f"{k}={v}" for k, v in zip(KEYS, v, strict=False)]) for v in (one, other))
    assert (first.casefold() == second.casefold()) == (one == other)
    for name in (first, second):
        assert make_wandb_id(name) == name  # no shell, file system or W&B changes it
        assert name[0] not in "-."
        assert len(name) < 100


def test_a_sweep_is_named_by_its_keys_and_keeps_its_name_with_further_values() -> None:
    assert re.fullmatch(r"optimizer-lr-\w{8}", make_sweep_id(["optimizer", "optimizer.lr"], ["debug=tiny"]))
    names = {make_sweep_id(["seed"], fixed) for fixed in ([], ["debug=tiny"], ["debug=laptop"])}
    assert len(names) == 3
    assert make_sweep_id([], ["debug=tiny"]).startswith("run-")
