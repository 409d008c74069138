"""Batch sizes: rules that give, for any step, the rows consumed before it.

A rule is a list of stages, so that step k is computed without the steps before it and resuming within a ramp
needs no state. Rows are those of the infinite order of triad.data.shuffle, counted over all processes.

The learning rate may follow the size, with `coupling`. B is the size of a step, `reference` the size that the
optimizer's rate is meant for (null: batch.size):

    lr_k = lr (B_k / reference)^p,   p = 0 for none, 1 for linear, 1/2 for sqrt

    linear   SGD: Goyal et al. 2017, arXiv:1706.02677, section 2.1
    sqrt     Adam and RMSProp: Malladi et al. 2022, arXiv:2205.10287, definition 5 (which scales their betas
             and eps, too; here they stay)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Annotated, Literal

from triad.schedules.learning_rate import Time, to_steps

Rows = Annotated[int, ">= 1"]
POWERS = {"none": 0.0, "linear": 1.0, "sqrt": 0.5}


@dataclass(frozen=True)
class Rule:
    """Batch sizes in stages: (begin, rows) holds for steps that begin after `begin` steps or rows.

    `rule(k)` is the number of rows consumed before step k. If `again` is set, all steps read the same rows. A
    size of None is all rows of the training set; `of` replaces it by their number. With `tokens` there are no
    stages: a step has as many rows as their lengths allow, which the data decides.
    """

    stages: tuple[tuple[float | Fraction, int | None], ...]
    unit: Literal["steps", "rows"]
    coupling: Literal["none", "linear", "sqrt"]
    reference: int | None
    again: bool = False
    tokens: int | None = None

    def __call__(self, step: int) -> int:
        """Rows consumed before a step."""
        done = consumed = 0
        ends = [*(begin for begin, _ in self.stages[1:]), math.inf]
        for (_, rows), end in zip(self.stages, ends, strict=True):
            assert rows is not None, "call Rule.of with the number of rows of the training set first"
            steps = step - done
            if end != math.inf:  # steps that begin before the next stage does
                left = math.ceil(end) - done if self.unit == "steps" else math.ceil((end - consumed) / rows)
                steps = min(steps, max(0, left))
            done, consumed = done + steps, consumed + steps * rows
            if done == step:
                break
        return consumed

    def first(self, step: int) -> int:
        """The position in the order of a step's first row."""
        return 0 if self.again else self(step)

    def reaches(self, steps: int) -> bool:
        """Whether the last size is used within so many steps."""
        done = steps - 1 if self.unit == "steps" else self(steps - 1)
        return done >= self.stages[-1][0]

    def count_steps(self, epochs: float, rows: int) -> int:
        """The steps that read `rows` so many times, the last one perhaps more; of batches of one size."""
        size = self(1)
        return math.ceil(Fraction(str(epochs)) * (size if self.again else rows) / size)

    @property
    def sizes(self) -> list[int]:
        """All sizes that are known before the data is."""
        return [rows for _, rows in self.stages if rows is not None]

    def of(self, rows: int) -> "Rule":
        """The rule for a training set of `rows` rows. Raises ValueError if batch.size exceeds them."""
        if not self.again:
            return self
        size = self.stages[0][1] or rows
        if size > rows:
            raise ValueError(f"batch.size={size}: the training set has {rows} rows; use batch.size=null")
        return replace(self, stages=((0, size),))


def fixed(size: int, coupling: Literal["none", "linear", "sqrt"], reference: Rows | None) -> Rule:
    """The same number of rows every step."""
    return Rule(((0, size),), "steps", coupling, reference or size)


def tokens(tokens: Annotated[int, ">= 1"]) -> Rule:
    """As many rows as have so many tokens at most, padding to the longest row counted.

    A pair counts by its longer side, so that neither sources nor targets are more: what tensor2tensor calls
    batch_size and fairseq --max-tokens, but over all processes. Rows are of neighbouring lengths.
    """
    return Rule((), "steps", "none", None, tokens=tokens)


def one(size: int, coupling: Literal["none", "linear", "sqrt"], reference: Rows | None) -> Rule:
    """Stochastic gradient descent as Robbins & Monro 1951 have it: one row a step. Its size is 1."""
    return fixed(size, coupling, reference)


def full(size: int | None, coupling: Literal["none", "linear", "sqrt"], reference: Rows | None) -> Rule:
    """Gradient descent: the same rows every step, all of the training set or its first `size`.

    All steps read the first epoch of the order, so that they descend one and the same function.
    """
    return replace(Rule(((0, size),), "steps", coupling, reference or size), again=True)


def staged(
    steps: int,
    size: int,
    then: list[list[float]],
    unit: Literal["steps", "rows"],
    coupling: Literal["none", "linear", "sqrt"],
    reference: Rows | None,
) -> Rule:
    """`size` rows, and from each `begin` of `then`, a list of [begin, size], another size.

    `begin` is a number of steps, or below 1 a fraction of the run; with unit=rows a number of rows consumed.
    Raises ValueError if the stages are not in order, or not pairs.
    """
    if any(len(pair) != 2 or pair[1] != int(pair[1]) for pair in then):
        raise ValueError(f"batch.then={then}: a list of [begin, size], such as [[500,16],[800,32]]")
    stages = [(0, size), *((_begin(begin, steps, unit, "then"), int(rows)) for begin, rows in then)]
    if any(after <= before for (before, _), (after, _) in pairwise(stages)):
        raise ValueError(f"batch.then={then}: each stage begins behind the one before it, the first behind 0")
    return Rule(tuple(stages), unit, coupling, reference or size)


def critical(
    steps: int,
    size: int | None,
    then: list[list[float]] | None,
    unit: Literal["steps", "rows"],
    coupling: Literal["none", "linear", "sqrt"],
    reference: Rows | None,
) -> Rule:
    """The critical batch sizes measured by the gradient noise of an earlier run, as stages.

    Nothing is measured while training, so that batch k is a function of the configuration. Raises ValueError
    without sizes.
    """
    if size is None or then is None:
        raise ValueError(
            "batch=critical has no sizes: python -m triad.noise_scale run=outputs/<run_id> measures them and"
            " prints batch.size=... batch.then=..."
        )
    return staged(steps, size, then, unit, coupling, reference)


def ramp(
    steps: int,
    size: int,
    start: int,
    increment: Rows,
    over: Time,
    unit: Literal["steps", "rows"],
    coupling: Literal["none", "linear", "sqrt"],
    reference: Rows | None,
) -> Rule:
    """From `start` rows to `size` in steps of `increment`, each size for an equal time.

        B = start + increment floor(done / (over / n)),   n = (size - start) / increment
        Brown et al. 2020 (GPT-3), arXiv:2005.14165, section 2.3; Megatron-LM's --rampup-batch-size

    `over` is a number of steps, or below 1 a fraction of the run; with unit=rows a number of rows consumed,
    as in both papers. Raises ValueError if no whole number of increments leads there.
    """
    if increment < 1 or size < start or (size - start) % increment:
        raise ValueError(
            f"batch.increment={increment} does not lead from batch.start={start} to batch.size={size} in"
            f" whole increments: use batch.increment={max(1, size - start)}, or a divisor of it"
        )
    levels = (size - start) // increment
    if not levels:
        return fixed(size, coupling, reference)
    end = _begin(over, steps, unit, "over")
    stages = [(Fraction(end * level, levels), start + increment * level) for level in range(levels + 1)]
    return Rule(tuple(stages), unit, coupling, reference or size)


def couple_to_batch(
    schedule: Callable[[int], float], rule: Rule, batch_rows: Callable[[int], int]
) -> Callable[[int], float]:
    """The schedule of the learning rate, scaled with the batch size by the rule's `coupling`."""
    power = POWERS[rule.coupling]
    if not power:
        return schedule
    reference = rule.reference or batch_rows(0)
    return lambda step: schedule(step) * (batch_rows(step) / reference) ** power


def _begin(given: float, steps: int, unit: str, key: str) -> int:
    if unit == "rows" and given < 1:
        raise ValueError(f"batch.{key}={given} with batch.unit=rows: give a number of rows, at least 1")
    return int(given) if unit == "rows" else to_steps(given, steps)


fixed.sizes = "one"
one.sizes = "one"
full.again = True
tokens.sizes = "one"  # rule for all steps
