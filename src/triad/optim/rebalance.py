"""Updates of router biases, which have no gradient. Shapes: L layers of experts, E experts."""

from collections.abc import Callable

from torch import Tensor, nn


class Rebalance:
    """Call each router's `rebalance`, if it has one, with its experts' token counts of the whole step.

    Made from the full model; routers of other pipeline stages, which have no storage, are skipped.
    """

    def __init__(self, model: nn.Module) -> None:
        self.routers = [layer.router for layer in model.modules() if hasattr(layer, "router")]
        self.asked = any(hasattr(router, "rebalance") for router in self.routers)

    def __call__(self, load_LE: Tensor, all_reduce: Callable[[Tensor], Tensor]) -> None:
        """`load_LE` is this process's load of each layer; `all_reduce` sums it over all processes."""
        if not self.asked:
            return
        for router, load_E in zip(self.routers, all_reduce(load_LE), strict=True):
            if hasattr(router, "rebalance") and not any(buffer.is_meta for buffer in router.buffers()):
                router.rebalance(load_E)
