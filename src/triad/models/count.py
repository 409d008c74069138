"""How many parameters a model has, how many of them one token meets, and what that costs."""

from collections.abc import Callable
from typing import Any, NamedTuple

from triad.layers.parameters import read_declarations


class Count(NamedTuple):
    """All parameters, and those that work on each token: everything but the experts it is not sent to.

    `multiplying` are the active ones that multiply (a table that is only looked up does not), `costs` what
    layers say that a token of a context costs beside its products with weights: attention's with keys and
    values, or what moves a state.
    """

    total: int
    active: int
    multiplying: int
    costs: tuple[Callable[[int], int], ...]

    def flops_per_token(self, context: int) -> int:
        """Floating-point operations of one token's forward and backward pass.

        6 N + what layers say, 12 D T of attention      Chowdhery et al. 2022, arXiv:2204.02311, appendix B
        """
        return 6 * self.multiplying + sum(cost(context) for cost in self.costs)


def count(model: Any) -> Count:
    """Count exactly; a weight used twice counts once. Works on the meta device; ask before it is cut up.

    A layer may have `idle_parameters()`, how many a token does not meet, and `flops_per_token(context)`.
    """
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    total, layers = sum(sizes.values()), list(model.modules())
    active = total - sum(layer.idle_parameters() for layer in layers if hasattr(layer, "idle_parameters"))
    lookups = sum(sizes[name] for name, said in read_declarations(model).items() if said.role == "embedding")
    tied = model.embedding.weight.numel() if model.head is None else 0
    costs = tuple(layer.flops_per_token for layer in layers if hasattr(layer, "flops_per_token"))
    return Count(total, active, active - lookups + tied, costs)
