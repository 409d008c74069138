"""The likeliest token each time. Shapes: B rows, T time, V words."""

from torch import Tensor

from triad.decoding.truncation import penalise_repetition
from triad.layers.ranges import PositiveFloat


class Greedy:
    """Continue with the likeliest token: y_t = argmax p(y | y_<t).

    `repetition_penalty` 1 is none: see triad.decoding.truncation.
    """

    def __init__(self, repetition_penalty: PositiveFloat = 1.0) -> None:
        self.repetition_penalty = repetition_penalty

    def choose(self, logits_BV: Tensor, tokens_BT: Tensor, uniform_B: Tensor) -> Tensor:
        """The next token of each row; tokens_BT are those so far."""
        if self.repetition_penalty != 1:
            logits_BV = penalise_repetition(logits_BV, tokens_BT, self.repetition_penalty)
        return logits_BV.argmax(-1)
