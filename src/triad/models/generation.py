"""Generating text with a model, one token at a time. Shapes: B batch, T time, V vocabulary."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn


@torch.no_grad()
def sample_tokens(
    model: nn.Module,
    prompt: list[int],
    tokens: int,
    context: int,
    temperature: float,
    top_k: int | None,
    seed: int,
    vocab_size: int | None = None,
) -> Iterator[int]:
    """Sample up to `tokens` further tokens, one at a time, with a key-value cache (an LSTM: its state).

        x_t ~ softmax(logits_t / temperature), over the `top_k` likeliest;  temperature 0 takes the likeliest

    Rows of the model behind `vocab_size` are no text and are not drawn.
    When the cache is full, a new cache is filled with the newer half of the context and sampling continues.
    Raises FloatingPointError if there is no likeliest token: the model's weights are not finite.
    """
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    text, fresh = list(prompt), prompt[-context:]
    cache = model.empty_cache(1)
    held = 0
    for _ in range(tokens):
        if held + len(fresh) > context:
            fresh, cache, held = text[-max(1, context // 2) :], model.empty_cache(1), 0
        logits_BTV, _ = model(torch.tensor([fresh], device=device), cache=cache)
        held += len(fresh)
        chosen = _choose(logits_BTV[0, -1, :vocab_size].float().cpu(), temperature, top_k, generator)
        text.append(chosen)
        fresh = [chosen]
        yield chosen


@torch.no_grad()
def decode_greedily(model: nn.Module, source_BS: Tensor, first: int, tokens: int) -> Tensor:
    """Decode a target for each source, taking the likeliest word each time: words_BT, T `tokens`.

    `first`, the last of the model's tokens, begins every target. Decoding does not stop at the end of a
    target, so that processes that share a model call it equally often and do not wait for the device; ignore
    what follows the end.
    """
    cache, words = model.empty_cache(len(source_BS)), []
    fresh_B1 = source_BS.new_full((len(source_BS), 1), first)
    for _ in range(tokens):
        logits_BTV, _ = model(source_BS, fresh_B1, cache=cache)
        fresh_B1 = logits_BTV[:, -1, : first + 1].argmax(-1, keepdim=True)
        words.append(fresh_B1)
    return torch.cat(words, 1)


def _choose(logits_V: Tensor, temperature: float, top_k: int | None, generator: torch.Generator) -> int:
    if not logits_V.max().isfinite():  # NaN, too: max hands it on
        raise FloatingPointError("no token can be drawn: the model's logits are not finite")
    if temperature < torch.finfo(logits_V.dtype).tiny:  # by which no number can be divided
        return int(logits_V.argmax())
    if top_k is not None and top_k < len(logits_V):
        logits_V = logits_V.masked_fill(logits_V < logits_V.topk(top_k).values[-1], -torch.inf)
    below_V = logits_V - logits_V.max()  # so that a quotient overflows to probability 0, not to NaN
    return int(torch.multinomial((below_V / temperature).softmax(-1), 1, generator=generator))
