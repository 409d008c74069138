"""What augmentations draw from, and which tokens they may touch. Shapes: B rows, T tokens, V vocabulary.

An augmentation is made with the run's `tokenizer` and called as augment(tokens_BT, draw) with what the model
reads first: its tokens, or the source of a task that has one. Only training calls it, behind the task's
`inputs`, so that targets are of the text as it is. draw(purpose, length) gives integers 0 ... 2^63 - 1 for
each row, a pure function of (seed, step, row): the same in every layout and after a resume.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Draw = Callable[[str, int], Tensor]


def list_words(tokenizer: Any) -> Tensor:
    """Which tokens of a vocabulary stand for text: all but the separator and other special ones."""
    return torch.from_numpy(tokenizer.byte_lengths > 0)


def find_words(tokens_BT: Tensor, is_word_V: Tensor) -> Tensor:
    """Where tokens of a text stand: no padding, no special token and no further one of the model."""
    last = len(is_word_V) - 1
    found_BT = is_word_V.to(tokens_BT.device)[tokens_BT.clamp(0, last)]
    return found_BT & (tokens_BT >= 0) & (tokens_BT <= last)
