"""What augmentations draw from, and which tokens they may touch. Shapes: B rows, T tokens.

An augmentation is made with the run's `tokenizer` and called as augment(tokens_BT, draw) with what the model
reads first: its tokens, or the source of a task that has one. Only training calls it, behind the task's
`inputs`, so that targets are of the text as it is. draw(purpose, length) gives integers 0 ... 2^63 - 1 for
each row, a pure function of (seed, step, row): the same in every layout and after a resume.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

Draw = Callable[[str, int], Tensor]


def find_words(tokens_BT: Tensor, tokenizer: Any) -> Tensor:
    """Where there are tokens of a text: no padding, no separator and no further word of the model."""
    real_BT = (tokens_BT >= 0) & (tokens_BT < tokenizer.vocab_size)
    return real_BT if tokenizer.separator is None else real_BT & (tokens_BT != tokenizer.separator)
