"""What is done to the logits of a token before it is drawn. Shapes: B rows, T time, V words.

A logit of minus infinity is a token that is not drawn. The likeliest token is always kept.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from triad.decoding.hypothesis import Order

# Nats. Tokens that training never saw are equally likely, but for the order in which a layout takes its sums.
ROUNDING = 1e-6


def check_finite(log_probability: float) -> None:
    """Raise FloatingPointError for the log-probability of a token by a model whose numbers are not finite."""
    if log_probability != log_probability:
        raise FloatingPointError("no token can be drawn: the model's logits are not finite")


def apply_constraint(logits_BV: Tensor, rows: Sequence[list[int]], order: Order) -> Tensor:
    """The logits, minus infinity where the constraint forbids a token to a row.

    Raises ValueError where it allows none.
    """
    if order.constraint is None:
        return logits_BV
    every_V = torch.ones(logits_BV.shape[1], dtype=torch.bool)
    masks = [order.constraint(row) for row in rows]
    allowed_BV = torch.stack([every_V if mask_V is None else mask_V.cpu() for mask_V in masks])
    if not allowed_BV.any(1).all():
        raise ValueError("the constraint allows no token: it must at least allow an end")
    return logits_BV.masked_fill(~allowed_BV.to(logits_BV.device), -torch.inf)


def penalise_repetition(logits_BV: Tensor, tokens_BT: Tensor, penalty: float) -> Tensor:
    """Divide positive logits of tokens that a row has by the penalty, and multiply negative ones.

    Keskar et al. 2019 (CTRL), arXiv:1909.05858, section 4.1, as transformers computes it: once for each
    token, however often it occurs. Tokens below 0 are padding.
    """
    vocab_size = logits_BV.shape[1]
    known_BT = tokens_BT.where((tokens_BT >= 0) & (tokens_BT < vocab_size), vocab_size)
    seen_BV = logits_BV.new_zeros(len(logits_BV), vocab_size + 1, dtype=torch.bool)
    seen_BV = seen_BV.scatter_(1, known_BT, value=True)[:, :-1]
    punished_BV = torch.where(logits_BV < 0, logits_BV * penalty, logits_BV / penalty)
    return punished_BV.where(seen_BV, logits_BV)


def divide_by_temperature(logits_BV: Tensor, temperature: float) -> Tensor:
    """logits / temperature, the largest of a row at 0, so that a quotient is minus infinity and not NaN."""
    return (logits_BV - logits_BV.amax(1, keepdim=True)) / temperature


def keep_top_k(logits_BV: Tensor, k: int) -> Tensor:
    """Keep the k likeliest tokens of a row, and those as likely as the last of them up to ROUNDING.

    Fan et al. 2018, arXiv:1805.04833, section 5.4.
    """
    if k >= logits_BV.shape[1]:
        return logits_BV
    return logits_BV.masked_fill(logits_BV < logits_BV.topk(k).values[:, -1:] - ROUNDING, -torch.inf)


def keep_top_p(logits_BV: Tensor, p: float) -> Tensor:
    """Keep the fewest tokens whose probabilities add up to p, the one that reaches it included.

    Holtzman et al. 2019, arXiv:1904.09751, section 3.1.
    """
    sorted_BV, order_BV = logits_BV.sort(descending=True, stable=True)
    probability_BV = sorted_BV.double().softmax(-1)
    hidden_BV = probability_BV.cumsum(-1) - probability_BV >= p
    hidden_BV[:, 0] = False
    return logits_BV.masked_fill(hidden_BV.gather(1, order_BV.argsort(1)), -torch.inf)


def keep_min_p(logits_BV: Tensor, p: float) -> Tensor:
    """Keep the tokens that are at least p times as likely as the likeliest.

    Nguyen et al. 2024, arXiv:2407.01082, section 3.
    """
    probability_BV = logits_BV.double().softmax(-1)
    return logits_BV.masked_fill(probability_BV < p * probability_BV.amax(1, keepdim=True), -torch.inf)
