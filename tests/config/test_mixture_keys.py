"""What a mixture asks of the other parts, and which of its keys a resumed run may change."""

import pytest

from triad.config.compose import compose
from triad.config.directions import directions
from triad.config.errors import Refusal
from triad.config.identity import is_place
from triad.launch.resume import may_change

MIXTURE = ("data=mixture", "debug=tiny", "trainer.accelerator=cpu")


@pytest.mark.parametrize("batch", ["fixed", "ramp", "staged", "one"])
def test_batches_of_any_size_are_drawn_from_a_mixture_though_one_source_is_labelled(batch: str) -> None:
    assert compose([*MIXTURE, f"batch={batch}"])["data"]["sources"]["packages"]["lines"] == 10


def test_a_batch_of_all_rows_is_refused() -> None:
    with pytest.raises(Refusal, match=r"data=mixture needs a batch that reads other rows each step"):
        compose([*MIXTURE, "batch=full"])


def test_the_loss_of_each_source_has_a_direction() -> None:
    ways = directions(compose([*MIXTURE, "+data@data.sources.mine=letters", "+data.weights.mine=1"]))
    assert {key: ways[key] for key in ways if key.startswith("val/loss/")} == {
        "val/loss/stdlib": "lower",
        "val/loss/packages": "lower",
        "val/loss/mine": "lower",
    }


def test_a_resumed_run_may_change_what_its_source_declares_and_nothing_else_of_its_text() -> None:
    config = compose([*MIXTURE])
    keys = ("data.weights.stdlib", "data.weights.mine", "data.schedule", "data.skip")
    assert all(may_change(key, config) for key in (*keys, "data.sources.mine", "data.sources.mine.path"))
    fixed = ("data.sources", "data.sources.stdlib", "data.sources.packages.lines", "data._target_", "seed")
    assert not any(may_change(key, config) for key in (*fixed, "clean", "tokenizer.vocab_size"))
    plain = compose(["debug=tiny", "trainer.accelerator=cpu"])
    assert not any(may_change(key, plain) for key in (*keys, "data.val_fraction", "data.sources.mine.path"))


def test_where_a_source_of_a_mixture_lies_is_a_place() -> None:
    assert is_place("data.sources.mine.path")
    assert not is_place("data.sources.mine.field")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("+data.weights.mine=1", "data.weights.mine: no source has that name; there are stdlib, packages"),
        ("~data.weights.packages", "data.weights.packages is missing: the share of data.sources.packages"),
        ("data.skip=[9:3]", "data.skip: 9:3: two steps, the earlier first"),
        ("+data@data.sources.mine=letters", "data.weights.mine is missing"),
    ],
)
def test_shares_that_are_not_those_of_the_sources_are_refused_before_a_run_begins(words, sentence) -> None:
    with pytest.raises(Refusal, match=sentence):
        compose([*MIXTURE, *words.split()])
