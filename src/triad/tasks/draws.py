"""Numbers drawn by where they are wanted, not in an order: the same on any device and in any layout.

Shapes: B rows, T time.
"""

from hashlib import blake2b

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, the increment of SplitMix64
LARGEST = 2**63 - 1


def draws(purpose: str, rows_B: Tensor, length: int) -> Tensor:
    """Integers 0 ... 2^63 - 1 for the places of some rows, a pure function of purpose, row and place."""
    key = int.from_bytes(blake2b(purpose.encode(), digest_size=8).digest(), "big", signed=True)
    place_T = torch.arange(length, device=rows_B.device)
    return _scrambled(_scrambled(rows_B + key)[:, None] + place_T * _signed(GOLDEN)) & LARGEST


def _scrambled(x: Tensor) -> Tensor:
    """SplitMix64, modulo 2^64: Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators"."""
    x = x + _signed(GOLDEN)
    x = (x ^ _shifted(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shifted(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    # torch's shift of signed numbers copies the sign
    return (x >> bits) & (2 ** (64 - bits) - 1)


def _signed(x: int) -> int:
    return x - 2**64 if x >= 2**63 else x
