"""Learning-rate schedules and batch sizes as pure functions of the step.

Each takes the step k = 0, 1, ... (updates already made) and the number of steps of the run, and returns a
multiplier of the optimizer's learning rate. Nothing is remembered, so resuming needs nothing. During warm-up,
update k uses (k + 1) / warmup, so that no update has rate zero and the full rate is reached at k = warmup -
1. `warmup` is a number of steps, or below 1 a fraction of the run.
"""

import math


def constant(step: int, steps: int, warmup: float) -> float:
    """Warm up, then stay at 1."""
    return _warm(step, warmup, steps)


def linear(step: int, steps: int, warmup: float, final: float) -> float:
    """Warm up, then fall on a straight line from 1 to `final` (Devlin et al. 2018, appendix A.2)."""
    return _warm(step, warmup, steps) * (1 - (1 - final) * _progress(step, _length(warmup, steps), steps))


def cosine(step: int, steps: int, warmup: float, final: float) -> float:
    """Warm up, then follow half a cosine from 1 to `final`.

    final + (1 - final) (1 + cos(pi t)) / 2,  t = progress      Loshchilov & Hutter 2017, eq. 5
    """
    t = _progress(step, _length(warmup, steps), steps)
    return _warm(step, warmup, steps) * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * t)))


def inverse_sqrt(step: int, steps: int, warmup: float) -> float:
    """Warm up linearly, then fall as one over the square root of the update's number ("Noam").

    min(n^-1/2, n warmup^-3/2) / warmup^-1/2,  n = step + 1      Vaswani et al. 2017, arXiv:1706.03762, eq. 3

    Deviates: scaled to peak at 1, so the peak rate is the optimizer's `lr` and not width^-1/2 warmup^-1/2.
    """
    n, warmup = step + 1, max(_length(warmup, steps), 1)
    return min(math.sqrt(warmup / n), n / warmup)


def wsd(step: int, steps: int, warmup: float, decay: float, final: float) -> float:
    """Warm up, stay at 1, and fall on a straight line to `final` over the last `decay` fraction of the run.

    Warmup-Stable-Decay: Hu et al. 2024, arXiv:2404.06395, section 4. Deviates: a linear last phase (Haegele
    et al. 2024, arXiv:2405.18392) in place of an exponential one.
    """
    t = _progress(step, steps - round(decay * steps), steps)
    return _warm(step, warmup, steps) * (1 - (1 - final) * t)


def fixed(step: int, size: int) -> int:
    """The first row of a step when every step has `size` rows: rows consumed so far."""
    return step * size


def _length(warmup: float, steps: int) -> int:
    return round(warmup * steps) if warmup < 1 else int(warmup)


def _warm(step: int, warmup: float, steps: int) -> float:
    return min(1.0, (step + 1) / max(_length(warmup, steps), 1))


def _progress(step: int, start: int, steps: int) -> float:
    """0 at `start`, 1 at the last update of the run, clamped."""
    return min(1.0, max(0.0, (step - start) / max(1, steps - 1 - start)))
