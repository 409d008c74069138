"""The neural n-gram model against its equation, and what every language model must do."""

from functools import partial
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from triad.config.compose import compose
from triad.layers.cross_entropy import cross_entropy_sum
from triad.layers.initialisation import fan_in
from triad.models.count import count
from triad.models.mlp import MLP
from triad.optim.initialise import initialise


def untouched(vocab_size: int = 17, **changes: Any) -> MLP:
    shape = {"order": 4, "width": 8, "hidden": 24, "depth": 1, "direct": False, "dropout": 0.0}
    initial = partial(fan_in, embedding=1.0, head="fan_in")
    return MLP(vocab_size=vocab_size, initial=initial, **shape | changes)


def small(**changes: Any) -> MLP:
    model = untouched(**changes)
    initialise(model, 0)
    with torch.no_grad():
        for bias in (model.head.bias, *(block.matrix.bias for block in model.blocks)):
            bias.uniform_(-1, 1)  # a bias of zero would hide a mistake
    return model.eval()


def tokens(batch: int = 2, length: int = 12) -> torch.Tensor:
    return torch.randint(17, (batch, length), generator=torch.Generator().manual_seed(0))


def transcribed(model: MLP, words: list[int]) -> torch.Tensor:
    """Equation 1 for the word behind `words`: y = b + W x + U tanh(d + H x)."""
    zeros = torch.zeros(model.width)
    recent = [model.embedding.weight[word] for word in reversed(words)] + [zeros] * model.order
    x = torch.cat(recent[: model.order - 1])
    H = model.blocks[0].matrix
    h = torch.tanh(H.bias + H.weight @ x)
    U, W = model.head.weight[:, : len(h)], model.head.weight[:, len(h) :]
    return model.head.bias + U @ h + (W @ x if model.direct else 0)


@pytest.mark.parametrize("direct", [True, False])
def test_logits_are_those_of_the_equation_with_zeros_before_the_first_word(direct: bool) -> None:
    model, x = small(direct=direct), tokens()
    expected = [[transcribed(model, row[: t + 1]) for t in range(len(row))] for row in x.tolist()]
    expected_BTV = torch.stack([torch.stack(row) for row in expected])
    torch.testing.assert_close(model(x)[0], expected_BTV, rtol=1e-5, atol=1e-5)


def test_changing_a_word_changes_the_predictions_of_the_words_it_is_in_reach_of_and_no_others() -> None:
    model, x = small(order=4), tokens()
    changed = x.clone()
    changed[:, 5] = (x[:, 5] + 1) % 17
    moved_T = (model(x)[0] - model(changed)[0]).abs().amax((0, 2)) > 1e-4
    assert moved_T.nonzero().flatten().tolist() == [5, 6, 7]


@pytest.mark.parametrize("order", [2, 3, 9])
@pytest.mark.parametrize("pieces", [[1] * 12, [5, 1, 4, 2]])
def test_a_cache_gives_the_logits_of_the_whole(order: int, pieces: list[int]) -> None:
    model, x = small(order=order), tokens()
    cache = model.empty_cache(2)
    with torch.no_grad():
        parts = [model(part, cache=cache)[0] for part in x.split(pieces, dim=1)]
        torch.testing.assert_close(torch.cat(parts, 1), model(x)[0])
    assert cache.length == 12


@pytest.mark.parametrize("direct", [True, False])
def test_there_are_as_many_parameters_as_in_the_paper(direct: bool) -> None:
    # |V| (1 + n m + h) + h (1 + (n - 1) m), section 2; without W it is |V| (n - 1) m fewer
    V, n, m, h = 16383, 5, 60, 50
    with torch.device("meta"):
        found = count(untouched(V, order=n, width=m, hidden=h, direct=direct))
    expected = V * (1 + n * m + h) + h * (1 + (n - 1) * m)
    assert found.total == found.active == expected - (not direct) * V * (n - 1) * m
    assert found.multiplying == found.total - V * m


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("changes", [{}, {"direct": True, "depth": 2}])
def test_one_batch_can_be_learned_by_heart(changes: dict, bfloat16: bool) -> None:
    model, x = small(**changes).train(), tokens(4, 13)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss, routings = model(
                x[:, :-1], loss=lambda hidden, weight, vocabulary: cross_entropy_sum(hidden, weight, x[:, 1:])
            )
        assert routings == ()
        (loss / 48).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() / 48 < 0.2  # the first words cannot be told apart by what comes before them


def test_every_parameter_learns_and_the_loss_sees_what_makes_the_logits() -> None:
    model, x = small(direct=True), tokens()
    made, _ = model(x, loss=lambda features, weight, vocabulary: F.linear(features, weight))
    torch.testing.assert_close(made, model(x)[0])
    made.square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert dict(model.named_buffers()) == {}


def test_a_model_made_on_the_meta_device_is_the_same_model() -> None:
    with torch.device("meta"):
        hollow = untouched()
        assert hollow(torch.zeros(2, 12, dtype=torch.long))[0].shape == (2, 12, 17)
    hollow.to_empty(device="cpu")
    plain = untouched()
    for model in (hollow, plain):
        initialise(model, 0)
    torch.testing.assert_close(hollow(tokens())[0], plain(tokens())[0], rtol=0, atol=0)


def test_bfloat16_is_as_near_as_bfloat16_can_be() -> None:
    model, x = small(direct=True), tokens()
    exact = model(x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        low = model(x)[0]
    rounded = small(direct=True).to(torch.bfloat16)(x)[0].float()
    assert (low.float() - exact).norm() <= 3 * (rounded - exact).norm()


@pytest.mark.parametrize("wrong", [{"order": 1}, {"depth": 0}])
def test_a_model_of_no_words_or_no_layer_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="at least order=2"):
        untouched(**wrong)


@pytest.mark.parametrize("strategy", ["tensor", "context", "pipeline", "expert"])
def test_what_needs_attention_is_refused_in_a_sentence(strategy: str) -> None:
    with pytest.raises(ValueError, match=r"model=mlp .*use (strategy|model)="):
        compose(["model=mlp", f"strategy={strategy}", "trainer.devices=2", "trainer.accelerator=cpu"])
