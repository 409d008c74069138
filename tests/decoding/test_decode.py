"""Sampling continues a text and is a function of the seed."""

import pytest
import torch

from tests.decoding.toy import sampling
from triad.config.build import build
from triad.config.compose import compose
from triad.decoding.decode import stream

CONTEXT, VOCAB = 16, 11


@pytest.fixture(params=["decoder", "moe", "lstm"])
def model(request: pytest.FixtureRequest) -> torch.nn.Module:
    config = compose(["debug=tiny", f"model={request.param}", "model.width=48", f"context={CONTEXT}"])
    model = build(config["model"])(vocab_size=VOCAB).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return model


def sample(model: torch.nn.Module, length: int, **words) -> list[int]:
    asked = {name: words.pop(name) for name in ("seed", "vocab_size") if name in words}
    asked = {"ends": (), "max_tokens": length, "context": CONTEXT, "vocab_size": VOCAB} | asked
    return list(stream(model, [1, 2, 3], sampling(**words), **asked))


def test_greedy_sampling_with_a_cache_is_the_argmax_of_the_whole_text(model: torch.nn.Module) -> None:
    text = [1, 2, 3]
    for chosen in sample(model, CONTEXT - 3, temperature=0.0):
        logits_BTV, _ = model(torch.tensor([text]))
        assert chosen == int(logits_BTV[0, -1].argmax())
        text.append(chosen)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_whose_numbers_are_not_finite_is_named(model: torch.nn.Module, temperature: float) -> None:
    for parameter in model.parameters():
        parameter.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="no token can be drawn"):
        sample(model, 3, temperature=temperature)


def test_sampling_goes_on_beyond_the_context(model: torch.nn.Module) -> None:
    words = sample(model, 3 * CONTEXT)
    assert len(words) == 3 * CONTEXT
    assert set(words) <= set(range(VOCAB))


def test_the_same_seed_gives_the_same_text_and_another_another(model: torch.nn.Module) -> None:
    assert sample(model, 40, seed=1) == sample(model, 40, seed=1)
    assert sample(model, 40, seed=1) != sample(model, 40, seed=2)


@pytest.mark.parametrize(("temperature", "top_k"), [(0.0, None), (1.0, None), (1.0, 3)])
def test_rows_behind_the_vocabulary_are_never_drawn(
    model: torch.nn.Module, temperature: float, top_k: int | None
) -> None:
    whole = sample(model, 60, temperature=temperature, top_k=top_k)
    cut = sample(model, 60, temperature=temperature, top_k=top_k, vocab_size=4)
    assert max(whole) >= 4 > max(cut)


def test_only_the_likeliest_are_drawn(model: torch.nn.Module) -> None:
    assert sample(model, 12, top_k=1) == sample(model, 12, temperature=0.0)


@pytest.mark.parametrize("temperature", [1e-45, 1e-46, 1e-40, 5e-324])
def test_the_smallest_temperatures_take_the_likeliest(temperature: float) -> None:
    logits_BV, one_B = torch.tensor([[1.0, 50.0, -3.0, 49.0]]), torch.ones(1)
    assert sampling(temperature=temperature).choose(logits_BV, torch.tensor([[0]]), one_B).tolist() == [1]
