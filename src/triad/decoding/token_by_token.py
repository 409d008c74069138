"""Rows that are continued by one token at a time, each on its own. Shapes: B rows, T time, V words."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from triad.decoding.hypothesis import Hypothesis, Order
from triad.decoding.prefixes import Prefixes
from triad.decoding.truncation import apply_constraint, check_finite
from triad.layers.splitmix64 import GOLDEN, splitmix64, to_fraction


def continue_rows(
    prefixes: Prefixes, decoding: Any, seeds: Sequence[int], order: Order, hypotheses: list[Hypothesis]
) -> Iterator[None]:
    """Add a token to each hypothesis that is not finished, and yield; until all are.

    There are as many hypotheses of each prefix as `seeds` are more than the prefixes. Rows that are finished
    leave the batch when they are half of it, but not in lockstep.
    """
    step_T = torch.arange(order.max_tokens)
    uniform_BT = to_fraction(splitmix64(splitmix64(torch.tensor(seeds))[:, None] + step_T * GOLDEN))
    uniform_BT = uniform_BT.to(prefixes.device)
    active = list(range(len(seeds)))
    for step in range(order.max_tokens):
        logits_BV = prefixes.read()
        if step == 0 and (copies := len(seeds) // len(logits_BV)) > 1:
            prefixes.select([row for row in range(len(logits_BV)) for _ in range(copies)])
            logits_BV = logits_BV.repeat_interleave(copies, 0)
        allowed_BV = apply_constraint(logits_BV, [hypotheses[row].tokens for row in active], order)
        chosen_B = decoding.choose(allowed_BV, prefixes.tokens_BT, uniform_BT[:, step])
        log_probability_B = logits_BV.gather(1, chosen_B[:, None])[:, 0] - logits_BV.logsumexp(-1)
        columns = torch.stack((chosen_B.to(log_probability_B.dtype), log_probability_B)).tolist()
        for row, token, gained in zip(active, *columns, strict=True):
            if not hypotheses[row].finished:
                _extend(hypotheses[row], int(token), gained, order)
        yield
        prefixes.append(chosen_B)
        going = [index for index, row in enumerate(active) if not hypotheses[row].finished]
        if not going and not order.lockstep:
            return
        if not order.lockstep and 2 * len(going) <= len(active):
            prefixes.select(going)
            uniform_BT, active = uniform_BT[going], [active[index] for index in going]


def _extend(found: Hypothesis, token: int, log_probability: float, order: Order) -> None:
    check_finite(log_probability)
    found.log_probability += log_probability
    if token in order.ends:
        found.finished = True
    else:
        found.tokens.append(token)
        found.finished = order.stopped is not None and order.stopped(found.tokens)
