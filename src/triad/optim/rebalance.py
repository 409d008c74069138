"""Updating the biases that balance experts without a gradient. Shapes: L layers of experts, E experts."""

from collections.abc import Callable

from torch import Tensor, nn


class Rebalance:
    """Tell each router that has a `rebalance` how many tokens of a whole step went to each of its experts.

    Made of a whole model; a layer that has been cut away since, and so has no storage, is passed over.
    """

    def __init__(self, model: nn.Module) -> None:
        self.routers = [layer.router for layer in model.modules() if hasattr(layer, "router")]
        self.asked = any(hasattr(router, "rebalance") for router in self.routers)

    def __call__(self, load_LE: Tensor, all_reduce: Callable[[Tensor], Tensor]) -> None:
        """This process's load of each layer; `total` sums it over all processes of the step."""
        if not self.asked:
            return
        for router, load_E in zip(self.routers, all_reduce(load_LE), strict=True):
            if hasattr(router, "rebalance") and not any(buffer.is_meta for buffer in router.buffers()):
                router.rebalance(load_E)
