"""CORAL against its published example, its equation, and the theorem about its biases."""

import math

import pytest
import torch

from triad.layers.coral import CoralHead, coral_sum, find_probabilities, sum_loss
from triad.layers.cross_entropy import IGNORED


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_the_loss_is_that_of_the_example_of_the_authors_package() -> None:
    """coral-pytorch's page of coral_loss: levels 1100, 1000 and 1111, mean 0.6920."""
    logits = torch.tensor([[2.1, 1.8, -2.1, -1.8], [1.9, -1.0, -1.5, -1.3], [1.9, 1.8, 1.7, 1.6]])
    assert float(sum_loss(logits, torch.tensor([2, 1, 4]))) / 3 == pytest.approx(0.6920, abs=5e-5)


def test_the_loss_and_its_gradient_are_those_of_the_equation() -> None:
    hidden, weight, bias = (draw(6, 3), draw(1, 3), draw(4))
    grades = [0, 4, 2, IGNORED, 1, 3]
    expected = 0.0
    for h, grade in zip(hidden.tolist(), grades, strict=True):
        for k in range(4) if grade != IGNORED else ():
            z = sum(w * x for w, x in zip(weight[0].tolist(), h, strict=True)) + bias[k].item()
            p = 1 / (1 + math.exp(-z))
            expected -= math.log(p) if grade > k else math.log(1 - p)
    asked = [part.requires_grad_() for part in (hidden, weight, bias)]
    assert coral_sum(*asked, torch.tensor(grades)).item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda *x: coral_sum(*x, torch.tensor(grades)), asked)


def test_far_logits_give_a_finite_loss() -> None:
    assert float(sum_loss(torch.tensor([[900.0, -900.0]]), torch.tensor([0]))) == 900


def test_the_head_gives_the_logits_that_the_loss_computes() -> None:
    head = CoralHead(3, 5).double()
    for parameter, value in zip(head.parameters(), (draw(1, 3), draw(4)), strict=True):
        parameter.data.copy_(value)
    expected = coral_sum(draw(6, 3), head.weight, head.bias, torch.tensor([0, 1, 2, 3, 4, 0]))
    assert torch.equal(sum_loss(head(draw(6, 3)), torch.tensor([0, 1, 2, 3, 4, 0])), expected)


def test_probabilities_are_some_whatever_the_biases_and_their_median_is_the_predicted_rank() -> None:
    logits = 3 * draw(500, 4)  # the questions of most rows are out of order
    p = find_probabilities(logits)
    torch.testing.assert_close(p.sum(-1), torch.ones(500, dtype=torch.float64))
    assert p.min() >= 0
    median = (p.cumsum(-1) < 0.5).sum(-1)
    assert torch.equal(median, (logits > 0).sum(-1))
    ordered = torch.tensor([[2.0, 0.5, -1.0]], dtype=torch.float64)
    above = ordered.sigmoid()[0]
    expected = [1 - above[0], above[0] - above[1], above[1] - above[2], above[2]]
    torch.testing.assert_close(find_probabilities(ordered)[0], torch.stack(expected))


def test_the_biases_of_the_minimum_fall() -> None:
    """Theorem 1 of the paper."""
    hidden, bias = draw(200, 2), torch.zeros(4, dtype=torch.float64, requires_grad=True)
    weight = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    grades = (hidden.sum(-1) * 1.2 + 2 + draw(200)).round().clamp(0, 4).long()
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        loss = coral_sum(hidden, weight, bias, grades)
        loss.backward()
        return loss.item()

    optimizer.step(closure)
    assert (bias.diff() < 0).all()
