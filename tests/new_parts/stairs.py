"""A learning rate that falls in steps."""


def stairs(step: int, steps: int, warmup: float, flights: int) -> float:
    """1, then ever less in `flights` equal steps down to 1 / flights."""
    return 1 - step * flights // steps / flights
