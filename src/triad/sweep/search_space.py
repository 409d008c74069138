"""What a parameter of a sweep may be: W&B's distributions as Optuna's, and from the draw to the value.

Where Optuna has no distribution of a kind (normal, unequal probabilities) it draws a probability u between
0 and 1 and the value is the distribution's quantile there: what is drawn is what was asked for, and every
sampler can still learn from it.
"""

import math
from collections.abc import Callable
from itertools import accumulate
from statistics import NormalDist
from typing import Any, NamedTuple

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from triad.config.overrides import quote
from triad.config.schema import suggest

CONTINUOUS = {
    "uniform": ("min", "max"),
    "log_uniform": ("min", "max"),
    "log_uniform_values": ("min", "max"),
    "inv_log_uniform": ("min", "max"),
    "inv_log_uniform_values": ("min", "max"),
    "normal": ("mu", "sigma"),
    "log_normal": ("mu", "sigma"),
}
TAKES = {
    "constant": ("value",),
    "categorical": ("values",),
    "categorical_w_probabilities": ("values", "probabilities"),
    "int_uniform": ("min", "max"),
    **CONTINUOUS,
    **{f"q_{name}": (*keys, "q") for name, keys in CONTINUOUS.items() if not name.startswith("inv")},
}
UNMAPPED = ("beta", "q_beta")  # no quantile without scipy
DEFAULT = {"mu": 0.0, "sigma": 1.0, "q": 1}
KEYS = ("distribution", "value", "values", "probabilities", "min", "max", "mu", "sigma", "q", "parameters")
EDGE = 1e-9  # of probabilities: a normal distribution has no value at 0 and 1


class SweepParameter(NamedTuple):
    """An Optuna distribution (None: nothing to draw), from its draw to the value, and all values if few."""

    distribution: BaseDistribution | None
    value: Callable[[Any], Any]
    grid: list[Any] | None  # draws, not values


def parse_parameter(node: dict[str, Any]) -> SweepParameter:
    """One entry of `parameters:`. Raises ValueError, naming what is wrong and the nearest that is right."""
    for key in node:
        if key not in KEYS:
            raise ValueError(f"{key} is not a key of a parameter{suggest(key, [*KEYS])}")
    name = node.get("distribution") or _infer_distribution(node)
    if name in UNMAPPED:
        raise ValueError(f"distribution {name} has no counterpart here; use normal or log_normal")
    if name not in TAKES:
        raise ValueError(f"distribution {name} is not known{suggest(str(name), [*TAKES])}")
    for key in TAKES[name]:
        if key not in node and key not in DEFAULT:
            raise ValueError(f"distribution {name} needs {key}")
    for key in node:
        if key not in (*TAKES[name], "distribution"):
            raise ValueError(f"distribution {name} takes {', '.join(TAKES[name])}, not {key}")
    return _parse_values(name, node) if "value" in TAKES[name][0] else _parse_numbers(name, node)


def format_value(value: Any) -> str:
    """A value as it stands on the command line; text as it is, so that it may be Hydra's own syntax."""
    return value if isinstance(value, str) else quote(value)


def _infer_distribution(node: dict[str, Any]) -> str:
    """The distribution that W&B takes where none is named."""
    if "value" in node:
        return "constant"
    if "values" in node:
        return "categorical_w_probabilities" if "probabilities" in node else "categorical"
    if "min" in node and "max" in node:
        whole = isinstance(node["min"], int) and isinstance(node["max"], int)
        return "int_uniform" if whole else "uniform"
    raise ValueError("needs value, values, min and max, or a distribution")


def _parse_values(name: str, node: dict[str, Any]) -> SweepParameter:
    if name == "constant":
        return SweepParameter(None, lambda _: node["value"], [None])
    values = node["values"]
    if not isinstance(values, list) or not values:
        raise ValueError("values: needs a list of at least one value")
    if name == "categorical":
        choices = [format_value(value) if isinstance(value, list | dict) else value for value in values]
        return SweepParameter(CategoricalDistribution(choices), lambda choice: choice, choices)
    chances = [_check_number("probabilities", chance) for chance in node["probabilities"]]
    if len(chances) != len(values) or not math.isclose(sum(chances), 1, abs_tol=1e-6):
        raise ValueError(f"probabilities: {chances} are not {len(values)} numbers with the sum 1")
    edges = [*accumulate(chances)][:-1]
    return SweepParameter(FloatDistribution(0, 1), lambda u: values[sum(u >= edge for edge in edges)], None)


def _parse_numbers(name: str, node: dict[str, Any]) -> SweepParameter:
    low, high = (_check_number(key, node.get(key, DEFAULT.get(key))) for key in TAKES[name][:2])
    if "min" in TAKES[name] and low > high:
        raise ValueError(f"min={low} is above max={high}")
    if name == "int_uniform":
        if not (isinstance(low, int) and isinstance(high, int)):
            raise ValueError(f"min={low} and max={high} are not both whole numbers")
        return SweepParameter(IntDistribution(low, high), int, [*range(low, high + 1)])
    family = name.removeprefix("q_")
    if family.endswith("log_uniform_values") and low <= 0:
        raise ValueError(f"min={low}: a logarithm needs more than 0")
    distribution, value = _make_continuous(family, low, high)
    if family == name:
        return SweepParameter(distribution, value, None)
    step = _check_number("q", node.get("q", DEFAULT["q"]))
    if step <= 0:
        raise ValueError(f"q={step} is not above 0")
    rounded = _make_rounding(step)
    grid = None
    if name == "q_uniform":
        count = math.floor((high - low) / step + 1e-9) + 1
        grid = [low + k * step for k in range(count)]
    return SweepParameter(distribution, lambda draw: rounded(value(draw)), grid)


def _make_continuous(family: str, a: float, b: float) -> tuple[BaseDistribution, Callable[[Any], Any]]:
    if family == "uniform":
        return FloatDistribution(a, b), float
    if family.endswith("log_uniform_values"):  # log(1/x) is uniform exactly where log x is
        return FloatDistribution(a, b, log=True), float
    if family == "log_uniform":
        return FloatDistribution(math.exp(a), math.exp(b), log=True), float
    if family == "inv_log_uniform":
        return FloatDistribution(math.exp(-b), math.exp(-a), log=True), float
    if b <= 0:
        raise ValueError(f"sigma={b} is not above 0")
    normal = NormalDist(a, b)
    unit = FloatDistribution(EDGE, 1 - EDGE)
    return unit, normal.inv_cdf if family == "normal" else lambda u: math.exp(normal.inv_cdf(u))


def _make_rounding(step: float) -> Callable[[float], float]:
    """W&B's round(x / q) * q; whole numbers for a whole q."""
    if isinstance(step, int):
        return lambda x: round(x / step) * step
    return lambda x: float(f"{round(x / step) * step:.12g}")  # 0.3, not 0.30000000000000004


def _check_number(key: str, value: Any) -> float:
    if isinstance(value, str):
        raise ValueError(f"{key}: {value!r} is text in YAML, which wants a point before the e: 1.0e-4")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{key}: {value!r} is not a number")
    return value
