"""Moving what balances experts without a gradient. Shapes: L layers of experts, E experts."""

from collections.abc import Callable

from torch import Tensor, nn

from triad.layers.moe import MixtureOfExperts
from triad.layers.routers.deepseek_v3 import DeepSeekV3


class Rebalance:
    """Tell each router that asks for it how many tokens of a whole step went to each of its experts.

    Made of a whole model; a layer that has been cut away since, and so has no storage, is passed over.
    """

    def __init__(self, model: nn.Module) -> None:
        self.routers = [layer.router for layer in model.modules() if isinstance(layer, MixtureOfExperts)]
        self.asked = any(isinstance(router, DeepSeekV3) for router in self.routers)

    def __call__(self, load_LE: Tensor, total: Callable[[Tensor], Tensor]) -> None:
        """This process's load of each layer; `total` sums it over all processes of the step."""
        if not self.asked:
            return
        for router, load_E in zip(self.routers, total(load_LE), strict=True):
            if isinstance(router, DeepSeekV3) and not router.bias.is_meta:
                router.rebalance(load_E)
