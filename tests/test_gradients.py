"""The norm of the whole gradient."""

import pytest
import torch

from triad.gradients import clip


def gradients(*shapes: tuple[int, ...]) -> list[torch.nn.Parameter]:
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape)
    return parameters


def test_the_norm_is_that_of_all_gradients_as_one_vector() -> None:
    parameters = gradients((3, 4), (5,), ())
    flat = torch.cat([p.grad.flatten() for p in parameters])
    assert clip(parameters, None) == pytest.approx(flat.norm().item(), rel=1e-6)


def test_clipping_scales_all_gradients_alike_and_returns_the_norm_before() -> None:
    parameters, before = gradients((3, 4), (5,)), gradients((3, 4), (5,))
    norm = clip(parameters, 0.5)
    assert torch.cat([p.grad.flatten() for p in parameters]).norm().item() == pytest.approx(0.5, rel=1e-4)
    for ours, theirs in zip(parameters, before, strict=True):
        torch.testing.assert_close(ours.grad * norm / 0.5, theirs.grad, rtol=1e-4, atol=1e-6)


def test_a_small_gradient_is_left_alone() -> None:
    parameters, before = gradients((3, 4)), gradients((3, 4))
    clip(parameters, 1e6)
    assert torch.equal(parameters[0].grad, before[0].grad)


def test_parameters_without_gradient_do_not_count() -> None:
    parameters = [*gradients((4,)), torch.nn.Parameter(torch.ones(3))]
    assert clip(parameters, None) == pytest.approx(parameters[0].grad.norm().item())


def test_a_copy_is_scaled_with_the_others_but_not_counted() -> None:
    parameters, before = gradients((3, 4), (5,)), gradients((3, 4), (5,))
    norm = clip(parameters, 0.5, copies=[parameters[1]])
    assert norm == pytest.approx(before[0].grad.norm().item())
    torch.testing.assert_close(parameters[1].grad * norm / 0.5, before[1].grad, rtol=1e-4, atol=1e-6)
