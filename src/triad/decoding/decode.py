"""Continue prompts with a model."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from triad.decoding.hypothesis import Hypothesis, Order
from triad.decoding.prefixes import Prefixes
from triad.decoding.token_by_token import continue_rows
from triad.layers.splitmix64 import splitmix64


@torch.no_grad()
def decode(
    model: nn.Module | Sequence[nn.Module],
    prompts: Sequence[Sequence[int]],
    decoding: Any,
    *,
    ends: Sequence[int],
    max_tokens: int,
    context: int,
    vocab_size: int | None,
    sources: Sequence[Sequence[int]] | None = None,
    seeds: Sequence[int] | None = None,
    constraint: Callable[[list[int]], Tensor | None] | None = None,
    stopped: Callable[[list[int]], bool] | None = None,
    lockstep: bool = False,
    n: int = 1,
) -> list[list[Hypothesis]]:
    """The `n` best, or n drawn, continuations of each prompt, of `max_tokens` tokens at most.

    `model` is one that reads a prompt, or with `sources` an encoder-decoder whose targets begin with the
    prompts; several are an ensemble. `decoding` is a choice of conf/decoding. Rows of a model behind
    `vocab_size` are no tokens. A text that grows longer than `context` is read on from its newer half.
    `seeds`, one for each prompt, are 0, 1, ... by default. `ends`, `constraint`, `stopped` and `lockstep`:
    see Order. Raises ValueError for a prompt without tokens or with more than `context`, and
    FloatingPointError where the model's numbers are not finite.
    """
    models = model if isinstance(model, Sequence) else [model]
    order = Order(ends, max_tokens, constraint, stopped, lockstep)
    _check(prompts, sources, order, context, n)
    if not prompts or not max_tokens:
        return [[Hypothesis() for _ in range(n)] for _ in prompts]
    prefixes = Prefixes(models, prompts, sources, context, vocab_size, lockstep)
    if hasattr(decoding, "search"):
        return decoding.search(prefixes, order, n)
    seeds = range(len(prompts)) if seeds is None else seeds
    own = [_mix(seed, sample) for seed in seeds for sample in range(n)]
    hypotheses = [Hypothesis() for _ in own]
    for _ in continue_rows(prefixes, decoding, own, order, hypotheses):
        pass
    return [hypotheses[first : first + n] for first in range(0, len(own), n)]


@torch.no_grad()
def stream(
    model: nn.Module | Sequence[nn.Module],
    prompt: Sequence[int],
    decoding: Any,
    *,
    ends: Sequence[int],
    max_tokens: int,
    context: int,
    vocab_size: int | None,
    source: Sequence[int] | None = None,
    seed: int = 0,
    constraint: Callable[[list[int]], Tensor | None] | None = None,
    stopped: Callable[[list[int]], bool] | None = None,
    lockstep: bool = False,
) -> Iterator[int]:
    """The tokens of a continuation of one prompt as they come, without the end: as `decode` with n=1.

    A search over several texts yields them at its end.
    """
    asked: Any = {"ends": ends, "max_tokens": max_tokens, "constraint": constraint, "stopped": stopped}
    sources = None if source is None else [source]
    if hasattr(decoding, "search"):
        rest: Any = {"context": context, "vocab_size": vocab_size, "sources": sources, "lockstep": lockstep}
        yield from decode(model, [prompt], decoding, **asked, **rest)[0][0].tokens
        return
    order = Order(**asked, lockstep=lockstep)
    _check([prompt], sources, order, context, 1)
    models = model if isinstance(model, Sequence) else [model]
    prefixes = Prefixes(models, [prompt], sources, context, vocab_size, lockstep)
    hypothesis, shown = Hypothesis(), 0
    for _ in continue_rows(prefixes, decoding, [_mix(seed, 0)], order, [hypothesis]):
        yield from hypothesis.tokens[shown:]
        shown = len(hypothesis.tokens)


def _mix(seed: int, sample: int) -> int:
    """The seed of one of several continuations of a prompt."""
    return int(splitmix64(torch.tensor(seed)) + sample) if sample else seed


def _check(prompts: Sequence, sources: Sequence | None, order: Order, context: int, n: int) -> None:
    if n < 1:
        raise ValueError(f"n={n}: at least one continuation of a prompt")
    if order.max_tokens < 0:
        raise ValueError(f"max_tokens={order.max_tokens}: at least 0")
    if sources is not None and len(sources) != len(prompts):
        raise ValueError(f"{len(sources)} sources for {len(prompts)} prompts: as many")
    if sources is not None and any(len(prompt) + order.max_tokens > context + 1 for prompt in prompts):
        longest = max(map(len, prompts))
        raise ValueError(
            f"a target of {longest} + max_tokens={order.max_tokens} tokens is longer than context={context}"
        )
    for prompt in prompts:
        if not prompt:
            raise ValueError("an empty prompt: at least one token, such as the separator, to continue from")
        if len(prompt) > context:
            raise ValueError(f"a prompt of {len(prompt)} tokens is longer than context={context}: shorten it")
