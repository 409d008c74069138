"""What decoding is asked for, and what comes of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor


@dataclass
class Hypothesis:
    """New tokens of one row, without the end; the log of their probability, that of the end included.

    The probability is the model's own, before penalties, temperature and truncation. `finished`: an end was
    met, or what the caller stops at; else `max_tokens` ran out.
    """

    tokens: list[int] = field(default_factory=list)
    log_probability: float = 0.0
    finished: bool = False


class Order(NamedTuple):
    """How far rows are continued, and by which tokens.

    `ends` are the ids that end a row. `constraint(new tokens)` is a mask of the tokens that may follow, or
    None where all may; `stopped(new tokens)` is true where a row ends without an end. With `lockstep` a
    model is called `max_tokens` times with all rows, as processes that share its weights must.
    """

    ends: Sequence[int]
    max_tokens: int
    constraint: Callable[[list[int]], Tensor | None] | None = None
    stopped: Callable[[list[int]], bool] | None = None
    lockstep: bool = False
