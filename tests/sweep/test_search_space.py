"""W&B's distributions: what is drawn is what was asked for, and mistakes are named."""

import math
from statistics import NormalDist

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from triad.sweep.search_space import format_value, parse_parameter


@pytest.mark.parametrize(
    ("node", "distribution"),
    [
        ({"values": [1, "a"]}, CategoricalDistribution([1, "a"])),
        ({"min": 1, "max": 8}, IntDistribution(1, 8)),
        ({"min": 1, "max": 8.0}, FloatDistribution(1, 8)),
        ({"distribution": "log_uniform_values", "min": 1, "max": 8}, FloatDistribution(1, 8, log=True)),
        ({"distribution": "log_uniform", "min": 0, "max": 2}, FloatDistribution(1, math.exp(2), log=True)),
        (
            {"distribution": "inv_log_uniform", "min": -2, "max": 0},
            FloatDistribution(1, math.exp(2), log=True),
        ),
        ({"distribution": "inv_log_uniform_values", "min": 1, "max": 8}, FloatDistribution(1, 8, log=True)),
    ],
)
def test_optunas_own_distributions_are_taken_where_they_are_the_same(
    node: dict, distribution: object
) -> None:
    found = parse_parameter(node)
    assert found.distribution == distribution
    assert found.value(1) == 1


@pytest.mark.parametrize("u", [0.1, 0.5, 0.8])
def test_others_are_quantiles(u: float) -> None:
    normal = NormalDist(2, 3).inv_cdf(u)
    assert parse_parameter({"distribution": "normal", "mu": 2, "sigma": 3}).value(u) == normal
    assert parse_parameter({"distribution": "log_normal", "mu": 2, "sigma": 3}).value(u) == math.exp(normal)
    assert parse_parameter({"distribution": "q_normal", "mu": 2, "sigma": 3}).value(u) == round(normal)
    unequal = parse_parameter({"values": ["a", "b", "c"], "probabilities": [0.2, 0.5, 0.3]})
    assert unequal.value(u) == {0.1: "a", 0.5: "b", 0.8: "c"}[u]


def test_a_step_rounds_as_wandb_does() -> None:
    tenth = parse_parameter({"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.1})
    assert tenth.value(0.31) == 0.3
    assert [tenth.value(draw) for draw in tenth.grid] == [k / 10 for k in range(11)]
    whole = parse_parameter({"distribution": "q_log_uniform_values", "min": 8, "max": 512, "q": 8}).value(
        20.1
    )
    assert whole == 24
    assert isinstance(whole, int)


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        ({"distribution": "log_uniform_value", "min": 1, "max": 2}, "did you mean log_uniform_values"),
        ({"distribution": "beta", "a": 1, "b": 2}, "a is not a key"),
        ({"distribution": "beta"}, "beta has no counterpart here"),
        ({"vales": [1]}, "did you mean values"),
        ({"values": []}, "at least one value"),
        ({"min": 1}, "min and max"),
        ({"min": 2, "max": 1}, "min=2 is above max=1"),
        ({"min": "1e-4", "max": 1.0}, "'1e-4' is text in YAML"),
        ({"min": True, "max": 3}, "not a number"),
        ({"distribution": "log_uniform_values", "min": 0, "max": 1}, "more than 0"),
        ({"distribution": "normal", "sigma": 0}, "sigma=0 is not above 0"),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0}, "q=0"),
        ({"values": [1, 2], "probabilities": [0.5, 0.6]}, "sum 1"),
        ({"values": [1], "min": 0}, "takes values, not min"),
        ({"distribution": "uniform", "min": 0}, "needs max"),
    ],
)
def test_a_mistake_in_a_parameter_is_named(node: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_parameter(node)


def test_values_are_written_as_the_command_line_wants_them() -> None:
    written = [format_value(value) for value in (None, True, 1e-3, "1e-3", "[a,b]", [1, None], {"k": [True]})]
    assert written == ["null", "true", "0.001", "1e-3", "[a,b]", "[1,null]", "{k:[true]}"]
