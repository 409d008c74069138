"""A row's continuation does not depend on the batch that it is in, nor on the cache."""

from copy import deepcopy
from typing import Any

import pytest
import torch

from tests.decoding.small_models import CONTEXT, NAMES, WORDS, make
from triad.decoding.decode import decode
from triad.decoding.greedy import Greedy
from triad.decoding.prefixes import Prefixes

QUICK = ("decoder", "gpt2", "mistral_7b", "bloom_7b1", "deepseek_v3", "hybrid", "lstm", "mlp", "t5_small")
every_model = pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
PROMPTS = [[5], [3, 0, 7, 2], [1, 4, 9, 9, 2, 0, 6, 11, 8], [12, 10], [0, 0], [16, 1, 2], [4] * 6]


def sources(model: Any, count: int) -> list[list[int]] | None:
    drawn = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 9, (count,), generator=drawn).tolist()
    rows = [torch.randint(WORDS, (length,), generator=drawn).tolist() for length in lengths]
    return rows if model.sees == "source" else None


def last_logits(model: Any, prompt: list[int], source: list[int] | None) -> torch.Tensor:
    """Without a cache."""
    given = () if source is None else (torch.tensor([source]),)
    with torch.no_grad():
        return model(*given, torch.tensor([prompt]))[0][0, -1]


@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"),
    [
        *((name, torch.float64, 1e-12) for name in (*NAMES, "key shift")),
        *((name, torch.float32, 1e-5) for name in QUICK),
    ],
)
@torch.no_grad()
def test_logits_of_a_padded_batch_with_a_cache_are_those_of_each_prompt_alone_without(
    name: str, dtype: torch.dtype, tolerance: float
) -> None:
    model = deepcopy(make(name)).to(dtype)
    read = sources(model, len(PROMPTS))
    rows = [[*prompt] for prompt in PROMPTS]
    prefixes = Prefixes([model], rows, read, CONTEXT, WORDS)
    for step in range(6):
        found = prefixes.read()
        if step == 3:  # rows leave, and come in another order
            order = [5, 0, 2, 3]
            prefixes.select(order)
            rows, found = [rows[index] for index in order], found[order]
            read = [read[index] for index in order] if read else None
        expected = [last_logits(model, row, read[index] if read else None) for index, row in enumerate(rows)]
        torch.testing.assert_close(found, torch.stack(expected), rtol=tolerance, atol=tolerance)
        fresh = torch.tensor([(3 * step + 5 * len(row)) % WORDS for row in rows])
        prefixes.append(fresh)
        rows = [[*row, token] for row, token in zip(rows, fresh.tolist(), strict=True)]


@every_model
def test_a_batch_of_1_or_7_or_64_in_either_order_gives_the_same_tokens(name: str) -> None:
    model = make(name)
    prompts = [*PROMPTS * 10][:64]
    read = sources(model, 7)
    given = None if read is None else [*read * 10][:64]
    asked: Any = {"ends": [7], "max_tokens": 8, "context": CONTEXT, "vocab_size": WORDS}
    rounds = [decode(model, prompts, Greedy(), sources=given, **asked)]
    back = None if read is None else read[::-1]
    seven = decode(model, PROMPTS[::-1], Greedy(), sources=back, **asked)[::-1]
    alone = [
        decode(model, [prompt], Greedy(), sources=read and [read[index]], **asked)[0]
        for index, prompt in enumerate(PROMPTS)
    ]
    rounds += [[*few * 10][:64] for few in (seven, alone)]
    for other in rounds[1:]:
        for (a,), (b,) in zip(rounds[0], other, strict=True):
            assert (a.tokens, a.finished) == (b.tokens, b.finished)
            assert a.log_probability == pytest.approx(b.log_probability, abs=1e-9)


@pytest.mark.parametrize("name", QUICK)
def test_a_text_longer_than_the_context_is_read_on_from_its_newer_half(name: str) -> None:
    model = make(name)
    asked: Any = {"ends": (), "max_tokens": 20, "context": CONTEXT, "vocab_size": WORDS}
    if model.sees == "source":
        asked |= {"max_tokens": 9, "sources": [[1]] * 7}
        with pytest.raises(ValueError, match=r"9 \+ max_tokens=9 tokens is longer than context=16"):
            decode(model, PROMPTS, Greedy(), **asked)
        return
    found = decode(model, PROMPTS, Greedy(), **asked)
    for prompt, (best,) in zip(PROMPTS, found, strict=True):
        text = seen = list(prompt)
        for token in best.tokens:
            seen = seen if len(seen) <= CONTEXT else text[-CONTEXT // 2 :]
            assert token == int(last_logits(model, seen, None).argmax())
            text, seen = [*text, token], [*seen, token]


def test_padding_is_a_place_and_no_id() -> None:
    model = make("gpt2")
    asked: Any = {"ends": (), "max_tokens": 5, "context": CONTEXT, "vocab_size": WORDS}
    together = decode(model, [[0, 0, 3], [3]], Greedy(), **asked)
    alone = [decode(model, [prompt], Greedy(), **asked)[0][0].tokens for prompt in ([0, 0, 3], [3])]
    assert [best.tokens for (best,) in together] == alone
    assert alone[0] != alone[1]
