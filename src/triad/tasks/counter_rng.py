"""Random numbers as a function of their position: the same on any device and in any layout.

Shapes: B rows, T time.
"""

from hashlib import blake2b

import torch
from torch import Tensor

from triad.layers.splitmix64 import GOLDEN, LARGEST, splitmix64


def random_integers(purpose: str, rows_B: Tensor, length: int) -> Tensor:
    """Integers 0 ... 2^63 - 1 for each position of each row: a pure function of purpose, row and position."""
    key = int.from_bytes(blake2b(purpose.encode(), digest_size=8).digest(), "big", signed=True)
    place_T = torch.arange(length, device=rows_B.device)
    return splitmix64(splitmix64(rows_B + key)[:, None] + place_T * GOLDEN) & LARGEST
