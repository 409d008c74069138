"""The norm of the whole gradient, clipping and penalties, against the equations in float64."""

import pytest
import torch
from torch import nn

from triad.optim.clip import Norm, RoleNorm, Value
from triad.optim.gradient import Gradient
from triad.optim.parametrisation import Standard
from triad.optim.regularizers import L1, L2, Unpenalized
from triad.optim.roles import roles
from triad.optim.update import Update


def model(dtype: torch.dtype = torch.float64) -> nn.Module:
    """An embedding, a matrix with a bias and a head, with a gradient each."""
    torch.manual_seed(0)
    parts = {"embedding": nn.Embedding(5, 4), "q": nn.Linear(4, 3), "head": nn.Linear(3, 5, bias=False)}
    made = nn.ModuleDict(parts).to(dtype)
    made.roles = {"head.weight": "head"}
    for parameter in made.parameters():
        parameter.grad = torch.randn_like(parameter)
    return made


def flat(made: nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in made.parameters() if p.grad is not None])


def clipped(rule, made: nn.Module) -> torch.Tensor:
    gradient = Gradient(made)
    norm = gradient.norm()
    rule(gradient, norm, roles(made))
    return norm


def test_the_norm_is_that_of_all_gradients_as_one_vector() -> None:
    made = model()
    torch.testing.assert_close(Gradient(made).norm(), flat(made).norm())


def test_clipping_scales_all_gradients_alike() -> None:
    made, before = model(), flat(model())
    norm = clipped(Norm(0.5), made)
    torch.testing.assert_close(flat(made), before * 0.5 / norm, rtol=1e-5, atol=0)


@pytest.mark.parametrize("rule", [Norm(1e6), Norm(None), Value(1e6), RoleNorm(1e6)])
def test_a_small_gradient_is_left_alone(rule) -> None:
    made = model()
    clipped(rule, made)
    assert torch.equal(flat(made), flat(model()))


def test_clipping_by_value_bounds_each_number() -> None:
    made = model()
    clipped(Value(0.3), made)
    assert torch.equal(flat(made), flat(model()).clamp(-0.3, 0.3))


def test_clipping_by_role_bounds_the_norm_of_each_role_by_itself() -> None:
    made, before = model(), model()
    made.q.bias.grad.mul_(1e-3)
    clipped(RoleNorm(0.5), made)
    for name in ("embedding.weight", "q.weight", "head.weight"):
        whole = before.get_parameter(name).grad
        expected = whole * 0.5 / whole.norm()
        torch.testing.assert_close(made.get_parameter(name).grad, expected, rtol=1e-5, atol=0)
    assert torch.equal(made.q.bias.grad, before.q.bias.grad * 1e-3)


def test_parameters_without_gradient_do_not_count() -> None:
    made = model()
    made.q.weight.grad = made.q.bias.grad = made.head.weight.grad = None
    torch.testing.assert_close(Gradient(made).norm(), made.embedding.weight.grad.norm())


def test_a_copy_is_scaled_with_the_others_but_not_counted() -> None:
    made, before = model(), model()
    gradient = Gradient(made, copies=[made.head.weight])
    norm = gradient.norm()
    rest = [p.grad.flatten() for name, p in before.named_parameters() if name != "head.weight"]
    torch.testing.assert_close(norm, torch.cat(rest).norm())
    Norm(0.5)(gradient, norm, roles(made))
    torch.testing.assert_close(made.head.weight.grad, before.head.weight.grad * 0.5 / norm, rtol=1e-5, atol=0)


@pytest.mark.parametrize("kind", [L1, L2])
def test_a_penalty_and_its_gradient_are_those_of_autograd(kind) -> None:
    made, chosen = model(), ["embedding", "matrix"]
    weights = [made.embedding.weight, made.q.weight]
    penalty = 0.1 * sum(w.abs().sum() if kind is L1 else 0.5 * w.square().sum() for w in weights)
    expected = torch.autograd.grad(penalty, weights)
    before = model()
    found = kind(0.1, chosen)(Gradient(made), roles(made))
    torch.testing.assert_close(found, penalty.detach())
    for name, added in zip(("embedding.weight", "q.weight"), expected, strict=True):
        torch.testing.assert_close(made.get_parameter(name).grad, before.get_parameter(name).grad + added)
    for name in ("q.bias", "head.weight"):
        assert torch.equal(made.get_parameter(name).grad, before.get_parameter(name).grad)


def test_the_penalty_is_added_before_the_norm_is_taken_and_watchers_see_what_is_not_yet_clipped() -> None:
    made, penalized, seen = model(), model(), []
    L2(0.5, ["matrix"])(Gradient(penalized), roles(penalized))
    update = Update(L2(0.5, ["matrix"]), Norm(0.1), Standard(), [])
    update.hooks.append(lambda gradient, norm: seen.append(flat(gradient.model).clone()))
    norm = update(Gradient(made))
    torch.testing.assert_close(norm, flat(penalized).norm())
    torch.testing.assert_close(seen[0], flat(penalized))
    torch.testing.assert_close(flat(made).norm().item(), 0.1, rtol=1e-4, atol=0)


def test_without_a_penalty_there_is_none_to_tell() -> None:
    update = Update(Unpenalized(), Norm(None), Standard(), [])
    update(Gradient(model()))
    assert update.penalty is None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Norm(0.0), r"clip.largest=0.0"),
        (lambda: Value(-1.0), r"clip.largest=-1.0"),
        (lambda: L1(-1.0, []), r"regularizer.strength=-1.0"),
        (lambda: L2(1.0, ["head", "heads"]), r"regularizer.roles has heads: use matrix, "),
    ],
)
def test_a_mistake_is_named(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
