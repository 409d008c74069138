"""The cross-entropy loss of tasks, its sums in validation and its metrics.

Shapes: B rows, T time.
"""

import math
from collections.abc import Callable
from functools import partial

from torch import Tensor

from triad.layers.cross_entropy import IGNORED, cross_entropy_sum


class CrossEntropy:
    """Negative log likelihood of the targets; with smoothing and z-loss in training only.

    `smoothing` and `z_loss` are those of cross_entropy_sum; they are part of train/loss, not of val/loss.
    Raises ValueError for a smoothing outside [0, 1) or a negative z_loss.
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
    """The negative log likelihood of the targets, the last of the inputs, and their number."""
    *given, targets_BT = inputs
    nll, _ = model(*given, loss=partial(cross_entropy_sum, targets_BT=targets_BT))
    return {"nll": nll, "count": (targets_BT != IGNORED).sum()}


def mean_loss(sums: dict[str, Tensor]) -> float:
    """Nats per target."""
    return float(sums["nll"]) / max(float(sums["count"]), 1)


def perplexity(sums: dict[str, Tensor]) -> dict[str, float]:
    """The mean loss and its exponential."""
    loss = mean_loss(sums)
    return {"loss": loss, "perplexity": math.exp(loss) if loss < 700 else math.inf}
