"""How initial weights and learning rates depend on a model's width."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from triad.layers.parameters import fans, plain_name, read_declarations
from triad.optim.initialise import standard_deviation


class Standard:
    """Initial weights by the model's own rule, one learning rate for all."""

    scale = None
    rate = None

    def fit(self, model: nn.Module, make: Callable) -> None:
        """The standard parametrisation compares no widths."""


class MuP:
    """Maximal update parametrisation: hyperparameters tuned at a small width hold at a large one, for Adam.

        hidden (both sides grow)      std ~ r_in^-1/2    rate ~ 1 / r_in
        output (the input grows)      std ~ 1 / r_in     rate ~ 1 / r_in
        input, vectors, states             std ~ 1            rate ~ 1
        scores q^T k / H              instead of q^T k / sqrt(H)
        Yang & Hu et al. 2022, arXiv:2203.03466, table 3 and definition 4.1, r_in = fan-in / base fan-in

    `base` holds the arguments of the model in which the one that was tuned differs, also of its parts:
    {"width": 64, "attention": {"heads": 4}}. There the parametrisation is the standard one. The shapes of a
    parameter in both models show which sides grow, as in the paper's package, so that it makes no difference
    whether heads become more or larger. Scores are scaled through a parameter in which they are linear, which
    is equivalent for Adam: the initial value and the rate of W_q, or of the queries' gain where there is a
    norm, are multiplied by sqrt(base H / H). So no layer changes, and a trained model needs no further
    scaling. The rates hold for optimizers that divide by the gradient's size. Deviates: at the base initial
    weights follow the model's own rule, which may start weights at zero that the paper draws.
    """

    needs = {"optimizer.adaptive": (True,)}

    def __init__(self, base: dict) -> None:
        self.base = base
        self.scales: dict[str, float] = {}  # until fit
        self.rates: dict[str, float] = {}

    def fit(self, model: nn.Module, make: Callable) -> None:
        """Compare a model with the base, made by `make(**base)`; both may be on meta."""
        base = make(**self.base)
        for name, said in read_declarations(model).items():
            small, large = base.get_parameter(name).shape, model.get_parameter(name).shape
            inner = said.role not in ("vector", "embedding", "state")
            wanted, self.rates[name] = width_factors(said.role, small, large) if inner else (1.0, 1.0)
            self.scales[name] = 1.0
            if isinstance(said.start, str) and (own := standard_deviation(model, said, large)):
                self.scales[name] = wanted * standard_deviation(base, said, small) / own
        for name, factor in score_factors(base, model).items():
            self.scales[name] *= factor
            self.rates[name] *= factor

    def scale(self, name: str) -> float:
        """The factor of a parameter's initial value."""
        return self.scales[name]

    def rate(self, name: str) -> float:
        """The factor of a parameter's learning rate."""
        return self.rates[plain_name(name)]


def replace_arguments(make: Callable, changes: dict[str, Any]) -> Callable:
    """A factory with other arguments, {"width": 64}, also of its parts, {"attention": {"heads": 4}}."""
    given = getattr(make, "keywords", {})
    parts = {name for name, value in changes.items() if isinstance(value, dict) and callable(given.get(name))}
    inner = {name: replace_arguments(given[name], changes[name]) for name in parts}
    return partial(make, **(changes | inner))


def width_factors(role: str, small: tuple[int, ...], large: tuple[int, ...]) -> tuple[float, float]:
    """The factors of standard deviation and learning rate for a parameter whose shape grows."""
    (small_in, small_out), (large_in, large_out) = fans(role, small), fans(role, large)
    grows = large_in / small_in
    return (grows**-0.5 if large_out != small_out else 1 / grows), 1 / grows


def score_factors(base: nn.Module, model: nn.Module) -> dict[str, float]:
    """The factors, by parameter, with which q^T k / sqrt(H) scales as q^T k / H."""
    found = {}
    for name, layer in model.named_modules():
        if hasattr(layer, "find_queries"):
            (_, small), (owner, large) = base.get_submodule(name).find_queries(), layer.find_queries()
            parts = layer.get_submodule(owner).named_parameters(f"{name}.{owner}")
            found |= {part: (small / large) ** 0.5 for part, _ in parts}
    return found
