"""The parameters of a model, those that one token uses, and the FLOPs of a token."""

from collections.abc import Callable
from typing import Any, NamedTuple

from triad.layers.parameters import read_declarations


class Count(NamedTuple):
    """All parameters, and the active ones: all but those of experts that a token is not sent to.

    `multiplying` counts the active parameters used in products (not tables that are only looked up). `costs`
    are the layers' own FLOPs of a token in a context beside its products with weights: attention's products
    with keys and values, or the update of a state.
    """

    total: int
    active: int
    multiplying: int
    costs: tuple[Callable[[int], int], ...]

    def flops_per_token(self, context: int) -> int:
        """Floating-point operations of one token's forward and backward pass.

        6 N + costs, 12 D T for attention      Chowdhery et al. 2022, arXiv:2204.02311, appendix B
        """
        return 6 * self.multiplying + sum(cost(context) for cost in self.costs)


def count(model: Any) -> Count:
    """Count exactly; a weight used twice counts once. Works on the meta device, before a model is sharded.

    A layer may have `idle_parameters()`, the number a token does not use, and `flops_per_token(context)`.
    """
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    total, layers = sum(sizes.values()), list(model.modules())
    active = total - sum(layer.idle_parameters() for layer in layers if hasattr(layer, "idle_parameters"))
    lookups = sum(sizes[name] for name, said in read_declarations(model).items() if said.role == "embedding")
    tied = model.embedding.weight.numel() if model.head is None else 0
    costs = tuple(layer.flops_per_token for layer in layers if hasattr(layer, "flops_per_token"))
    return Count(total, active, active - lookups + tied, costs)
