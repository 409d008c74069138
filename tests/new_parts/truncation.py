"""An augmentation that reads the beginning of a document only."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from triad.layers.full_attention import PADDING


class Truncation:
    """Read at most `length` tokens of each row."""

    needs = {"task.predicts": ("a label",)}

    def __init__(self, length: int, tokenizer: Any) -> None:
        self.length = length

    def __call__(self, tokens_BT: Tensor, draw: Callable) -> Tensor:
        place_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
        return tokens_BT.masked_fill(place_T >= self.length, PADDING)
