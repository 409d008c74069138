"""A task whose metric is the better the higher it is."""

from collections.abc import Callable

from torch import Tensor

from triad.layers.cross_entropy import IGNORED
from triad.tasks.likelihood import CrossEntropy, likelihood, mean_loss


class NextTokenAccuracy:
    """Language modelling, judged by how often the likeliest token is the right one."""

    needs = {"model.sees": ("past", "window"), "data.yields": ("text",)}
    lower_is_better = ("loss",)
    higher_is_better = ("hits",)
    reads = ("tokens_BT", "targets_BT")

    def __init__(self) -> None:
        self.loss = CrossEntropy(0.0, 0.0)

    def inputs(self, batch: dict, draw: Callable) -> dict:
        return batch

    def measure(self, model: Callable, tokens_BT: Tensor, targets_BT: Tensor) -> dict[str, Tensor]:
        guess_BT = model(tokens_BT)[0].argmax(-1)
        right = ((guess_BT == targets_BT) & (targets_BT != IGNORED)).sum()
        return likelihood(model, tokens_BT, targets_BT) | {"right": right}

    def figures(self, sums: dict[str, Tensor]) -> dict[str, float]:
        return {"loss": mean_loss(sums), "hits": float(sums["right"]) / max(float(sums["count"]), 1)}
