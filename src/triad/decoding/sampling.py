"""Tokens that are drawn. Shapes: B rows, T time, V words."""

import math

import torch
from torch import Tensor

from triad.decoding.truncation import (
    divide_by_temperature,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalise_repetition,
)
from triad.layers.ranges import NonNegativeFloat, NonNegativeInt, PositiveFloat, UnitInterval

SMALLEST = torch.finfo(torch.float32).tiny  # temperature by which fp32 can be divided


class Sampling:
    """Draw each token from what the model predicts.

        y_t ~ softmax(logits_t / temperature), cut by top_k, then top_p, then min_p

    Before that `repetition_penalty` (1 is none) changes the logits. A temperature of 0 takes the likeliest
    token. `top_k` null or 0, `top_p` 1 and `min_p` 0 keep all: see triad.decoding.truncation. What is drawn
    follows from the logits, the row's seed and the number of its tokens, whatever batch the row is in.
    """

    def __init__(
        self,
        temperature: NonNegativeFloat,
        top_k: NonNegativeInt | None,
        top_p: UnitInterval,
        min_p: UnitInterval,
        repetition_penalty: PositiveFloat,
    ) -> None:
        for name, value, holds, bounds in (
            ("temperature", temperature, 0 <= temperature < math.inf, "at least 0, which is greedy"),
            ("top_k", top_k, not top_k or top_k > 0, "at least 0, or null"),
            ("top_p", top_p, 0 <= top_p <= 1, "a probability, from 0 to 1"),
            ("min_p", min_p, 0 <= min_p <= 1, "a share, from 0 to 1"),
            ("repetition_penalty", repetition_penalty, repetition_penalty > 0, "above 0; 1 is none"),
        ):
            if not holds:
                raise ValueError(f"decoding.{name}={value}: {bounds}")
        self.temperature, self.top_k, self.top_p, self.min_p = temperature, top_k, top_p, min_p
        self.repetition_penalty = repetition_penalty

    def choose(self, logits_BV: Tensor, tokens_BT: Tensor, uniform_B: Tensor) -> Tensor:
        """The next token of each row, by a number between 0 and 1 each; tokens_BT are those so far."""
        logits_BV = self.adjust(logits_BV, tokens_BT)
        return logits_BV.argmax(-1) if self.temperature < SMALLEST else _invert(logits_BV, uniform_B)

    def adjust(self, logits_BV: Tensor, tokens_BT: Tensor) -> Tensor:
        """The logits that a token is drawn from; tokens_BT are those of the rows so far."""
        if self.repetition_penalty != 1:
            logits_BV = penalise_repetition(logits_BV, tokens_BT, self.repetition_penalty)
        if self.temperature < SMALLEST:
            return logits_BV
        logits_BV = divide_by_temperature(logits_BV, self.temperature)
        if self.top_k:
            logits_BV = keep_top_k(logits_BV, self.top_k)
        if self.top_p < 1:
            logits_BV = keep_top_p(logits_BV, self.top_p)
        return keep_min_p(logits_BV, self.min_p) if self.min_p else logits_BV


def _invert(logits_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """The token at which the sum of the probabilities first exceeds a number below 1."""
    sum_BV = logits_BV.double().softmax(-1).cumsum(-1)
    threshold_B1 = (uniform_B * sum_BV[:, -1]).minimum(sum_BV[:, -1] * (1 - 2**-50))[:, None]
    # where the numbers are not finite none does
    return torch.searchsorted(sum_BV, threshold_B1, right=True)[:, 0].clamp_max(logits_BV.shape[1] - 1)
