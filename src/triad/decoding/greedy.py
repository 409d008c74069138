"""The likeliest token each time. Shapes: B rows, T time, V words."""

from torch import Tensor


class Greedy:
    """Continue with the likeliest token: y_t = argmax p(y | y_<t)."""

    def choose(self, logits_BV: Tensor, tokens_BT: Tensor, uniform_B: Tensor) -> Tensor:
        """The next token of each row."""
        return logits_BV.argmax(-1)
