"""Learning-rate schedules as pure functions of the step.

Each takes the step k = 0, 1, ... (updates already made) and the number of steps of the run, and returns a
multiplier of the optimizer's learning rate. There is no state, so resuming needs none. `warmup` is a number
of steps, or below 1 a fraction of the run.

`from_`, the key `from`, is the step that a schedule begins at, in the place of the one before it, when a run
goes on: it has steps - from_ steps, of which fractions are, and before them the multiplier of its first.
Behind its end, where `steps` is less than the run has, a fall stays at its `final`, constant and wsd at what
they came to, inverse_sqrt falls on and cyclic goes on.

No update has a rate of zero: the warm-up is (k + 1) / warmup, 1 at k = warmup - 1, and a fall reaches its
`final` at k = steps, behind the last update. The falls are those of transformers' schedules; its warm-up is
k / warmup, one update behind, which spends the first update on nothing. one_cycle is torch's to its end.
"""

import math
from collections.abc import Callable
from typing import Annotated, Literal

Time = Annotated[float, ">= 0"]  # a number of steps, or below 1 a fraction of the run
UnitInterval = Annotated[float, ">= 0", "<= 1"]
Begin = Annotated[int, ">= 0"]

# How a rate falls: 1 at t = 0, 0 at t = 1
SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda t: 1 - t,
    "sqrt": lambda t: 1 - math.sqrt(t),
    "cosine": lambda t: 0.5 * (1 + math.cos(math.pi * t)),
}


def constant(step: int, steps: int, warmup: Time, from_: Begin = 0) -> float:
    """Warm up, then stay at 1."""
    step, steps = _count_from(from_, step, steps)
    return _warm(step, warmup, steps)


def linear(step: int, steps: int, warmup: Time, final: UnitInterval, from_: Begin = 0) -> float:
    """Warm up, then fall on a straight line from 1 to `final` (Devlin et al. 2018, appendix A.2)."""
    step, steps = _count_from(from_, step, steps)
    return _warm(step, warmup, steps) * (1 - (1 - final) * _progress(step, to_steps(warmup, steps), steps))


def cosine(step: int, steps: int, warmup: Time, final: UnitInterval, from_: Begin = 0) -> float:
    """Warm up, then follow half a cosine from 1 to `final`.

    final + (1 - final) (1 + cos(pi t)) / 2,  t = progress      Loshchilov & Hutter 2017, eq. 5
    """
    step, steps = _count_from(from_, step, steps)
    t = _progress(step, to_steps(warmup, steps), steps)
    return _warm(step, warmup, steps) * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * t)))


def inverse_sqrt(step: int, steps: int, warmup: Time, from_: Begin = 0) -> float:
    """Warm up linearly, then fall as one over the square root of the update's number ("Noam").

    min(n^-1/2, n warmup^-3/2) / warmup^-1/2,  n = step + 1      Vaswani et al. 2017, arXiv:1706.03762, eq. 3

    Deviates: scaled to peak at 1, so the peak rate is the optimizer's `lr`. The paper's own rate is that with
    lr = width^-1/2 warmup^-1/2.
    """
    step, steps = _count_from(from_, step, steps)
    n, warmup = step + 1, max(to_steps(warmup, steps), 1)
    return min(math.sqrt(warmup / n), n / warmup)


def polynomial(
    step: int,
    steps: int,
    warmup: Time,
    power: Annotated[float, "> 0"],
    final: UnitInterval,
    from_: Begin = 0,
) -> float:
    """Warm up, then fall from 1 to `final` as a power of what is left of the run.

    final + (1 - final) (1 - t)^power,  t = progress      Chen et al. 2016, arXiv:1606.00915, section 4.1
    """
    step, steps = _count_from(from_, step, steps)
    t = _progress(step, to_steps(warmup, steps), steps)
    return _warm(step, warmup, steps) * (final + (1 - final) * (1 - t) ** power)


def wsd(
    step: int,
    steps: int,
    warmup: Time,
    decay: UnitInterval,
    shape: Literal["linear", "sqrt", "cosine"],
    final: UnitInterval,
    from_: Begin = 0,
) -> float:
    """Warm up, stay at 1, and fall to `final` over the last `decay` fraction of the run.

    Warmup-Stable-Decay: Hu et al. 2024, arXiv:2404.06395, section 4. Shapes of the fall, with t its progress:
    linear 1 - t, sqrt 1 - sqrt(t), cosine (1 + cos(pi t)) / 2: Haegele et al. 2024, arXiv:2405.18392, section
    3. Deviates: Hu et al. fall exponentially.
    """
    step, steps = _count_from(from_, step, steps)
    t = _progress(step, steps - round(decay * steps), steps)
    return _warm(step, warmup, steps) * (final + (1 - final) * SHAPES[shape](t))


def one_cycle(
    step: int,
    steps: int,
    warmup: Time,
    start: UnitInterval,
    shape: Literal["linear", "sqrt", "cosine"],
    final: UnitInterval,
    from_: Begin = 0,
) -> float:
    """Rise from `start` to 1 during the warm-up and fall to `final` over the rest of the run: "1cycle".

    Smith & Topin 2017, arXiv:1708.07120, section 3; Smith 2018, arXiv:1803.09820, section 4.3. With
    shape=cosine these are the rates of torch's OneCycleLR. Deviates: the optimizer's momentum stays.
    """
    step, steps = _count_from(from_, step, steps)
    peak = max(to_steps(warmup, steps), 1) - 1
    if step < peak:
        return 1 - (1 - start) * SHAPES[shape](step / peak)
    return final + (1 - final) * SHAPES[shape](_progress(step, peak, steps - 1))


def cyclic(
    step: int,
    steps: int,
    warmup: Time,
    period: Time,
    low: UnitInterval,
    fade: Time,
    from_: Begin = 0,
) -> float:
    """Warm up to `low`, then go up to 1 and down again in straight lines, once each `period`.

        low + (1 - low) max(0, 1 - |x|) fade^c,   x = 2 k / period - 2 c - 1,   c = floor(k / period)

    Smith 2017, arXiv:1506.01186, section 3.1, and k counted from the end of the warm-up. fade=1 is his
    triangular policy, fade=0.5 triangular2. `period`, his 2 stepsize, is a number of steps, or below 1 a
    fraction of the run.
    """
    step, steps = _count_from(from_, step, steps)
    cycle, k = to_steps(period, steps), step - to_steps(warmup, steps)
    if k < 0:
        return low * _warm(step, warmup, steps)
    c = k // cycle
    return low + (1 - low) * max(0.0, 1 - abs(2 * k / cycle - 2 * c - 1)) * fade**c


def to_steps(part: float, steps: int) -> int:
    """A number of steps, or below 1 a fraction of the run, in steps."""
    return round(part * steps) if part < 1 else int(part)


def _count_from(begin: int, step: int, steps: int) -> tuple[int, int]:
    return max(0, step - begin), steps - begin


def _warm(step: int, warmup: float, steps: int) -> float:
    return min(1.0, (step + 1) / max(to_steps(warmup, steps), 1))


def _progress(step: int, start: int, end: int) -> float:
    """0 at `start`, 1 at `end`, clamped."""
    return min(1.0, max(0.0, (step - start) / max(1, end - start)))


constant.stays = True
wsd.falls_at_the_end = True  # by its argument `decay`
