"""SplitMix64, a hash of integers that gives the same pseudorandom numbers on any device."""

from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # 2^64 / golden ratio, the increment of SplitMix64
LARGEST = 2**63 - 1


def splitmix64(x: Tensor) -> Tensor:
    """SplitMix64, modulo 2^64: Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators".

    One to one: int64 -> int64.
    """
    x = x + GOLDEN
    x = (x ^ _shift_right(x, 30)) * _to_signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift_right(x, 27)) * _to_signed(0x94D049BB133111EB)
    return x ^ _shift_right(x, 31)


def to_fraction(x: Tensor) -> Tensor:
    """A hash as a number between 0 and 1, in fp64."""
    return (x & LARGEST).double() / 2**63


def _shift_right(x: Tensor, bits: int) -> Tensor:
    # torch's shift of signed numbers copies the sign
    return (x >> bits) & (2 ** (64 - bits) - 1)


def _to_signed(x: int) -> int:
    return x - 2**64 if x >= 2**63 else x
