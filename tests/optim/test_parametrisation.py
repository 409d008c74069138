"""muP: initial weights and rates by the paper's tables, and activations whose size is that of any width."""

from functools import partial
from typing import Any

import pytest
import torch

from triad.config.build import build
from triad.config.compose import compose
from triad.coordinates import fit_growth, grow_arguments, measure
from triad.layers.parameters import read_declarations
from triad.optim.initialise import standard_deviation
from triad.optim.parametrisation import MuP, replace_arguments
from triad.optim.roles import decay_groups

WORDS = ["debug=tiny", "trainer.accelerator=cpu"]


def fitted(words: list[str], base: dict[str, Any]) -> tuple[MuP, Any]:
    """muP fitted to the model of some words, and that model."""
    config = compose([*WORDS, *words])
    factory = partial(build(config["model"]), vocab_size=11)
    with torch.device("meta"):
        model, mup = factory(), MuP(base)
        mup.fit(model, lambda **changes: replace_arguments(factory, changes)())
    return mup, model


def initial(mup: MuP, model: Any, name: str) -> float:
    """The standard deviation with which a weight starts."""
    said, shape = read_declarations(model)[name], model.get_parameter(name).shape
    return mup.scale(name) * standard_deviation(model, said, shape)


# A model of width 64 x 12 = 768 in the field's form, heads of 16: table 3 of the paper for Adam, with r = 12.
# By parameter: the factor of the learning rate, and initial std over that of the base.
FIELD = {
    "embedding.weight": (1.0, 1.0),
    "head.weight": (1 / 12, 1 / 12),
    "blocks.1.attention.q.weight": (1 / 12, 12**-0.5),
    "blocks.1.attention.k.weight": (1 / 12, 12**-0.5),
    "blocks.1.attention.v.weight": (1 / 12, 12**-0.5),
    "blocks.1.attention.out.weight": (1 / 12, 12**-0.5),
    "blocks.1.attention.q_norm.weight": (1.0, 1.0),
    "blocks.1.feedforward.up.weight": (1 / 12, 12**-0.5),
    "blocks.1.feedforward.gate.weight": (1 / 12, 12**-0.5),
    "blocks.1.feedforward.down.weight": (1 / 12, 12**-0.5),
    "blocks.1.attention_norm.weight": (1.0, 1.0),
}
FORMS = {
    "more heads of one size": (["model.attention.heads=48"], {"attention": {"heads": 4}}, {}),
    # scores q^T k / H: with 1 / sqrt(H) there is sqrt(base H / H) more, in the queries' gain
    "as many heads, larger": ([], {}, {"blocks.1.attention.q_norm.weight": (12**-0.5, 1.0)}),
}


# A model whose weights all start with one standard deviation, whatever its width.
CONSTANT = [
    "model.initial._target_=triad.layers.initialisation.plain_normal",
    *("~model.initial.embedding", "~model.initial.head", "+model.initial.std=0.02"),
]


@pytest.mark.parametrize("form", FORMS)
def test_rates_and_initial_weights_are_those_of_the_papers_table(form: str) -> None:
    words, heads, other = FORMS[form]
    hidden = "model.feedforward.hidden"
    base = {"width": 64, "feedforward": {"hidden": 256}} | heads
    mup, large = fitted(["model.width=768", f"{hidden}=3072", *CONSTANT, *words], base)
    unchanged, small = fitted(["model.width=64", f"{hidden}=256", *CONSTANT], {})
    for name, (rate, std) in (FIELD | other).items():
        assert mup.rate(name) == pytest.approx(rate), name
        if name.endswith("norm.weight"):
            assert mup.scale(name) == pytest.approx(rate), name
        else:
            assert initial(mup, large, name) / initial(unchanged, small, name) == pytest.approx(std), name


def mu_adam(base: Any, model: Any) -> dict[str, float]:
    """The factors of Adam's rates in the paper's package, microsoft/mup, read in mup/optim.py and layer.py.

    A dimension is infinite where base and model differ. Two such: the rate is divided by the multiple of the
    fan-in. MuReadout, whose logits are multiplied by the inverse of that multiple, keeps its rate; a weight
    that has the multiplier in itself moves as much less under Adam.
    """
    rates = {}
    for name, weight in model.named_parameters():
        grown = [
            large / small for small, large in zip(base.get_parameter(name).shape, weight.shape, strict=True)
        ]
        infinite = [multiple for multiple in grown if multiple != 1]
        readout = name == "head.weight"
        rates[name] = 1 / grown[-1] if readout or len(infinite) == 2 else 1.0
    return rates


def test_the_groups_of_the_optimizer_have_the_rates_and_decays_of_the_papers_package() -> None:
    base = {"width": 64, "attention": {"heads": 4, "kv_heads": 2}}
    words = ["model.width=192", "model.attention.heads=12", "model.attention.kv_heads=6"]
    mup, large = fitted(words, base)
    _, small = fitted(["model.width=64", "model.attention.heads=4", "model.attention.kv_heads=2"], {})
    expected = mu_adam(small, large)
    names = {id(p): name for name, p in large.named_parameters()}
    groups = decay_groups(large, 0.1, rate=mup.rate)
    rates = {names[id(p)]: group["rate"] for group in groups for p in group["params"]}
    decays = {names[id(p)]: group["weight_decay"] for group in groups for p in group["params"]}
    assert rates == pytest.approx(expected)
    for name, decay in decays.items():
        assert decay == pytest.approx(0.0 if "norm" in name else 0.1 / expected[name]), name


@pytest.mark.parametrize("model", ["moe", "lstm", "hybrid"])
def test_experts_routers_and_states_follow_the_same_table(model: str) -> None:
    mup, large = fitted([f"model={model}", "model.width=256", "model.initial.head=fan_in"], {"width": 64})
    _, small = fitted([f"model={model}", "model.width=64"], {})
    kind = {name: said.role for name, said in read_declarations(large).items()}
    for name, weight in large.named_parameters():
        sides = zip(weight.shape, small.get_parameter(name).shape, strict=True)
        grown = [large / small for large, small in sides]
        if kind[name] in ("head", "router"):
            assert mup.rate(name) == 1 / 4
        elif kind[name] == "expert":  # experts, in, out
            assert mup.rate(name) == pytest.approx(1 / grown[1])
        elif kind[name] == "matrix":
            assert mup.rate(name) == pytest.approx(1 / grown[-1])
        elif not name.endswith("q_norm.weight"):
            assert mup.rate(name) == mup.scale(name) == 1.0


def test_at_the_base_nothing_changes() -> None:
    mup, _ = fitted(["model.width=64"], {"width": 64})
    assert {*mup.scales.values(), *mup.rates.values()} == {1.0}


def growth(*words: str, grow: tuple[str, ...] = ("width",)) -> dict[str, float]:
    """By layer, the exponent of the width with which activations change in a few steps."""
    shared = ["debug=tiny", "model.initial.head=fan_in", "optimizer.lr=1e-2"]
    return fit_growth(measure([*shared, *words], [64, 128, 256], 3, 2, grow))


def test_activations_keep_their_size_in_mup_and_grow_in_the_standard_parametrisation() -> None:
    flat, steep = growth("parametrisation=mup"), growth()
    for block in ("block 0", "block 1"):
        assert abs(flat[block]) < 0.1
        assert steep[block] > 0.5
    assert steep["logits"] > flat["logits"] + 0.3  # a norm stands before the head, so they grow less


def test_activations_keep_their_size_where_heads_become_more_if_the_base_says_so() -> None:
    heads = ("model.width=64", "model.attention.heads=4", "model.attention.head_size=16")
    words, grow = ("parametrisation=mup", *heads), ("width", "attention.heads")
    flat = growth(*words, "+parametrisation.base.attention.heads=4", grow=grow)
    same = growth(*words, grow=grow)  # as many heads in the base: attention.out seems not to grow
    for block in (0, 1):
        assert abs(flat[f"block {block}"]) < 0.1
        assert flat[f"attention {block}"] < 0.05
        assert same[f"attention {block}"] > flat[f"attention {block}"] + 0.2


def test_arguments_grow_in_proportion_or_are_refused() -> None:
    model = {"width": 64, "attention": {"heads": 4, "kv_heads": None}}
    grown = {"width": 192, "attention": {"heads": 12}}
    assert grow_arguments(model, 192, ["width", "attention.heads"]) == grown
    with pytest.raises(ValueError, match=r"grow=attention.heads: .*heads=4 does not grow by 65/64"):
        grow_arguments(model, 65, ["width", "attention.heads"])
    with pytest.raises(ValueError, match=r"model.attention.kv_heads=None"):
        grow_arguments(model, 128, ["attention.kv_heads"])
