"""What tasks share that ask for one right answer of several: a loss, its sums and its figures.

Shapes: B rows, T time.
"""

import math
from collections.abc import Callable
from functools import partial

from torch import Tensor

from triad.layers.cross_entropy import IGNORED, cross_entropy_sum


class CrossEntropy:
    """Negative log likelihood of the targets; smoothed and with a z-loss in training alone.

    `smoothing` and `z_loss` are those of cross_entropy_sum; train/loss has them in it, val/loss has not.
    Raises ValueError for a smoothing that is no fraction.
    """

    def __init__(self, smoothing: float, z_loss: float) -> None:
        if not (0 <= smoothing < 1 and z_loss >= 0):
            raise ValueError(
                f"task.smoothing={smoothing} z_loss={z_loss}: a share of 1, such as 0.1, and at least 0"
            )
        self.smoothing, self.z_loss = smoothing, z_loss

    def __call__(self, targets: Tensor, training: bool) -> Callable:
        smoothing, z_loss = (self.smoothing, self.z_loss) if training else (0.0, 0.0)
        return partial(cross_entropy_sum, targets_BT=targets, smoothing=smoothing, z_loss=z_loss)


def likelihood(model: Callable, *inputs: Tensor) -> dict[str, Tensor]:
    """Sums over the last of the inputs, the targets: their negative log likelihood, and how many they are."""
    *given, targets_BT = inputs
    nll, _ = model(*given, loss=partial(cross_entropy_sum, targets_BT=targets_BT))
    return {"nll": nll, "count": (targets_BT != IGNORED).sum()}


def mean_loss(sums: dict[str, Tensor]) -> float:
    """Nats of a target."""
    return float(sums["nll"]) / max(float(sums["count"]), 1)


def perplexity(sums: dict[str, Tensor]) -> dict[str, float]:
    """The mean loss and its exponential."""
    loss = mean_loss(sums)
    return {"loss": loss, "perplexity": math.exp(loss) if loss < 700 else math.inf}
