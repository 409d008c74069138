"""The order of training: which window of the corpus each row reads, a pure function of seed and row.

Row i of the infinite sequence belongs to epoch e = i // N, where N is the number of windows, and reads window
permutation_{seed,e}(i mod N). Each epoch cuts the corpus at another phase, so that a second epoch does not
meet the same windows again. No state is kept: any row of any epoch is found in O(1) time and memory.
"""

import math

import numpy as np

ROUNDS = 8
GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, the increment of SplitMix64
TURNS = [turn * 0xD1B54A32D192ED03 % 2**64 for turn in range(ROUNDS)]  # far apart: rounds share no input


def count_windows(n_tokens: int, context: int) -> int:
    """N = (n_tokens - 1) // context: a window reads context + 1 tokens and shares the last with the next."""
    windows = (n_tokens - 1) // context
    if windows < 1:
        raise ValueError(
            f"context={context}: longer than the corpus, whose {n_tokens} tokens allow "
            f"context={n_tokens - 1} at most; lower context or give data more text"
        )
    return windows


def find_starts(rows: np.ndarray, n_tokens: int, context: int, seed: int, anew: bool = True) -> np.ndarray:
    """The position of each row's first token.

        start = min(window * context + phase, n_tokens - context - 1)

    The phase, 0 .. context - 1, depends on seed and epoch; so the last window of an epoch may overlap the one
    before it, and the first `phase` tokens wait for another epoch. Without `anew` all epochs have the order
    of the first; the phase is still each one's own.
    """
    windows = count_windows(n_tokens, context)
    key = hash_pairs(seed, np.asarray(rows) // windows)
    phase = (_splitmix64(key) % context).astype(np.int64)
    order = shuffle_rows(rows if anew else rows % windows, windows, seed)
    return np.minimum(order * context + phase, n_tokens - context - 1)


def shuffle_rows(rows: np.ndarray, windows: int, seed: int) -> np.ndarray:
    """The window each row reads: shuffled, and each exactly once in every epoch."""
    rows = np.asarray(rows).astype(np.uint64)
    return _permute(rows % windows, windows, hash_pairs(seed, rows // windows)).astype(np.int64)


def hash_pairs(seed: int, numbers: np.ndarray | int) -> np.ndarray:
    """64 bits of the seed and each number, such as that of an epoch.

        s(n + s(seed)), s = SplitMix64

    s is a permutation: two pairs of one seed never agree, and two of seeds a and b only where s(a) and s(b)
    lie as far apart as the numbers do, which happens by chance of 2^-64. seed + n agrees for neighbours.
    """
    seed_key = _splitmix64(np.array([seed % 2**64], np.uint64))
    return _splitmix64(np.asarray(numbers).astype(np.uint64) + seed_key)


def _permute(x: np.ndarray, n: int, key: np.ndarray) -> np.ndarray:
    """Permute {0..n-1} by encrypting it: a Feistel network on Z_a x Z_b with ab >= n, walked until below n.

        L' = L + F(R) mod a,   R' = R + F(L') mod b          Black & Rogaway 2002, methods 2 and 3

    "Ciphers with arbitrary finite domains", CT-RSA 2002. With a = ceil(sqrt n) and b = ceil(n / a) there are
    fewer than a values to walk past, so nearly every x is done after one pass.
    """
    a = math.isqrt(n - 1) + 1
    b = -(-n // a)
    y = _encrypt(x, a, b, key)
    while (outside := y >= n).any():
        y[outside] = _encrypt(y[outside], a, b, key[outside])
    return y


def _encrypt(x: np.ndarray, a: int, b: int, key: np.ndarray) -> np.ndarray:
    left, right = x % a, x // a
    for turn in range(0, ROUNDS, 2):
        left = (left + _splitmix64(right + key + TURNS[turn]) % a) % a
        right = (right + _splitmix64(left + key + TURNS[turn + 1]) % b) % b
    return left + right * a


def _splitmix64(x: np.ndarray) -> np.ndarray:
    """SplitMix64, modulo 2^64: Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators"."""
    x = x + GOLDEN
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB
    return x ^ (x >> 31)
