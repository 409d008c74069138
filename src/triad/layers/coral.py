"""Ordinal regression: which of K ordered grades. Shapes: B rows, D width, K grades."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triad.layers.cross_entropy import IGNORED
from triad.layers.ranges import PositiveInt


class CoralHead(nn.Module):
    """One weight vector and K - 1 biases: the logit of each question whether a row is above a grade.

        P(y > r_k) = sigmoid(w . h + b_k),   k = 1 ... K - 1      Cao, Mirjalili and Raschka 2019 (CORAL),
                                                                  arXiv:1901.07884, section 3.2

    hidden_BD -> logits_BK-1. The weights are shared, so that the answers of a row are in the order of the
    biases for every row. The biases start at 0, as in its published code.
    """

    splits = ("expert",)
    starts = {"bias": 0.0}

    def __init__(self, width: PositiveInt, grades: PositiveInt):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, width))
        self.bias = nn.Parameter(torch.empty(grades - 1))

    def forward(self, hidden_BD: Tensor) -> Tensor:
        return F.linear(hidden_BD, self.weight) + self.bias


def coral_sum(hidden_BD: Tensor, weight_1D: Tensor, bias_V: Tensor, grades_B: Tensor) -> Tensor:
    """The loss of the head's logits, in the form in which a model calls a loss."""
    return sum_loss(F.linear(hidden_BD, weight_1D) + bias_V, grades_B)


def sum_loss(logits_BK: Tensor, grades_B: Tensor) -> Tensor:
    """Sum over rows and k of the binary cross-entropy of "above grade k", without rows of -100.

    -sum_k [log sigmoid(z_k) 1(y > r_k) + log(1 - sigmoid(z_k)) 1(y <= r_k)]    arXiv:1901.07884, eq. 4

    with each question as important as another, as in its experiments. `grades_B` count from 0.
    """
    logits_BK = logits_BK.to(torch.promote_types(logits_BK.dtype, torch.float32))
    above_BK = grades_B[:, None] > torch.arange(logits_BK.shape[-1], device=grades_B.device)
    loss_BK = F.binary_cross_entropy_with_logits(logits_BK, above_BK.to(logits_BK.dtype), reduction="none")
    return loss_BK.where((grades_B != IGNORED)[:, None], 0).sum()


def find_probabilities(logits_BK: Tensor) -> Tensor:
    """The probabilities of the K grades, from the logits of the K - 1 questions.

        P(y = r_k) = P(y > r_{k-1}) - P(y > r_k),   P(y > r_0) = 1,   P(y > r_K) = 0

    The biases of the loss's minimum fall with k (theorem 1); those on the way there need not, so the answers
    are put in order. This leaves the paper's prediction, the number of answers above 1/2, as it is: it is the
    median of these probabilities.
    """
    above_BK = logits_BK.sigmoid().sort(-1, descending=True).values
    return F.pad(above_BK, (1, 0), value=1.0) - F.pad(above_BK, (0, 1), value=0.0)
