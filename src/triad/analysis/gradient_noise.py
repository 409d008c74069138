"""The noise of gradients, and the batch size that it makes useful."""

from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor, nn


class Noise(NamedTuple):
    """What the gradients of a step's rows say: |G|^2 of the true gradient, tr(Sigma) of one row's."""

    signal: float
    spread: float

    @property
    def scale(self) -> float:
        """B_simple, in rows. Raises ValueError where the gradient is drowned in noise."""
        if self.signal <= 0:
            raise ValueError("the gradient is drowned in noise: measure with more rows=")
        return self.spread / self.signal


def estimate_noise(small: float, rows_small: int, large: float, rows_large: int) -> Noise:
    """Unbiased estimates from |G|^2 of a few rows, averaged over several such, and of all of them together.

    |G|^2 = (B_l |G_l|^2 - B_s |G_s|^2) / (B_l - B_s)
    tr(Sigma) = (|G_s|^2 - |G_l|^2) / (1/B_s - 1/B_l),   B_simple = tr(Sigma) / |G|^2
    McCandlish et al. 2018, arXiv:1812.06162, eq. 2.9 and A.2
    """
    signal = (rows_large * large - rows_small * small) / (rows_large - rows_small)
    return Noise(signal, (small - large) / (1 / rows_small - 1 / rows_large))


def measure_noise(model: "nn.Module", rows: Iterable[tuple["Tensor", "Tensor"]]) -> Noise:
    """The noise of the mean loss of a token, from micro-batches (tokens_BT, targets_BT) of one size."""
    import torch

    from triad.layers.cross_entropy import cross_entropy_sum

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    total = [torch.zeros_like(parameter) for parameter in parameters]
    squares, size = [], 0
    for tokens_BT, targets_BT in rows:
        nll, _ = model(tokens_BT, loss=partial(cross_entropy_sum, targets_BT=targets_BT))
        gradients = torch.autograd.grad(nll / targets_BT.numel(), parameters)
        squares.append(_sum_squares(gradients))
        torch._foreach_add_(total, gradients)
        size = len(tokens_BT)
    number = len(squares)
    return estimate_noise(sum(squares) / number, size, _sum_squares(total) / number**2, size * number)


def write_schedule(scales: list[tuple[int, float]], multiple: int) -> list[str]:
    """Noise scales by step as words for train.py: a batch of that size from that step on, never smaller.

    Sizes are the nearest multiples of `multiple`. The first holds from the beginning.
    """
    stages: list[tuple[int, int]] = []
    for step, scale in sorted(scales):
        size = max(1, round(scale / multiple)) * multiple
        if not stages or size > stages[-1][1]:  # noise grows while the loss falls; what falls is the estimate
            stages.append((step if stages else 0, size))
    assert all(before[1] < after[1] for before, after in pairwise(stages))
    then = ",".join(f"[{step},{size}]" for step, size in stages[1:])
    return ["batch=critical", f"batch.size={stages[0][1]}", f"batch.then=[{then}]"]


def _sum_squares(gradients: Any) -> float:
    import torch

    return sum(float(norm.double()) ** 2 for norm in torch._foreach_norm(list(gradients)))
