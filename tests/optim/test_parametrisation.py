"""muP: initial weights and rates by the paper's table, and activations whose size does not know the width."""

from functools import partial

import pytest
import torch

from triad.config.build import build
from triad.config.compose import compose
from triad.coordinates import fit_growth, measure
from triad.layers.parameters import read_declarations
from triad.optim.initialise import standard_deviation
from triad.optim.parametrisation import MuP


def made(*words: str, width: int):
    config = compose(["debug=tiny", "trainer.accelerator=cpu", "optimizer.weight_decay=0.1", *words])
    return partial(build(config["model"]), vocab_size=11, width=width)


@pytest.mark.parametrize("model", ["decoder", "moe", "lstm"])
def test_rates_and_initial_weights_are_the_tables(model: str) -> None:
    words = ["model.initial.head=fan_in"]
    with torch.device("meta"):
        make = made(f"model={model}", *words, width=256)
        mup = MuP(64)
        large, small = make(), make(width=64)
        mup.fit(large, make)
    said = read_declarations(large)
    kind = {name: role for name, (role, _) in said.items()}
    for name, weight in large.named_parameters():
        base = small.get_parameter(name)
        std, at_base = 1.0, 1.0
        if isinstance(said[name].start, str):
            std = standard_deviation(large, said[name], weight.shape)
            at_base = standard_deviation(small, said[name], base.shape)
        if kind[name] in ("head", "router"):  # output: one side grows, by 4
            assert mup.scale(name) * std == pytest.approx(at_base / 4)
            assert mup.rate(name) == 1 / 4
        elif kind[name] in ("matrix", "expert"):
            into, out = (1, 2) if kind[name] == "expert" else (-1, -2)
            grows = weight.shape[into] / base.shape[into]
            hidden = weight.shape[out] != base.shape[out]  # else an output: the experts are of one size here
            assert mup.scale(name) * std == pytest.approx(at_base * grows ** (-0.5 if hidden else -1))
            assert mup.rate(name) == pytest.approx(1 / grows)
        elif name.endswith("q_norm.weight"):  # scores fall as 1 / H: heads are 4 times as large
            assert mup.scale(name) == mup.rate(name) == 0.5
        else:
            assert mup.scale(name) == mup.rate(name) == 1.0


def test_at_the_base_width_nothing_changes() -> None:
    with torch.device("meta"):
        make = made(width=64)
        mup = MuP(64)
        mup.fit(make(), make)
    assert {*mup.scales.values(), *mup.rates.values()} == {1.0}


def test_activations_keep_their_size_in_mup_and_grow_in_the_standard_parametrisation() -> None:
    words = ["debug=tiny", "model.initial.head=fan_in", "optimizer.lr=1e-2"]
    widths = [64, 128, 256]
    flat = fit_growth(measure([*words, "parametrisation=mup"], widths, steps=3, seeds=2))
    steep = fit_growth(measure(words, widths, steps=3, seeds=2))
    # exponents of the width: how much more activations have changed since the start
    for block in ("block 0", "block 1"):
        assert abs(flat[block]) < 0.1
        assert steep[block] > 0.5
    assert steep["logits"] > flat["logits"] + 0.3  # a norm stands before the head, so they grow less


def test_a_base_width_is_a_number_of_units() -> None:
    with pytest.raises(ValueError, match="base_width=0"):
        MuP(0)
