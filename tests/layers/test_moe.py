from functools import partial

import pytest
import torch
from torch._subclasses import FakeTensorMode

from triad.layers import moe
from triad.layers.feedforward import SwiGLU
from triad.layers.moe import MixtureOfExperts
from triad.layers.relu_experts import ReLUExperts
from triad.layers.routers.top_k import TopK


def layer(dtype=torch.float64, experts=4, shared=0, **changes):
    torch.manual_seed(1)
    mixtral = {"top_k": 2, "normalize": True, "balance": 0.1, "z": 0.01, "over_layers": "sum"}
    router = partial(TopK, **mixtral | changes)
    model = MixtureOfExperts(8, 16, experts, shared, router, None).to(dtype)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0, 0.5)
    return model


def naive(model, x):
    """Token by token, choice by choice."""
    y = torch.zeros_like(x)
    e = model.experts
    for b, t in [(b, t) for b in range(x.shape[0]) for t in range(x.shape[1])]:
        weight, choice = (model.router.weight @ x[b, t]).softmax(0).topk(model.router.top_k)
        weight = weight / weight.sum() if model.router.normalize else weight
        for w, i in zip(weight, choice, strict=True):
            gate = torch.nn.functional.silu(x[b, t] @ e.gate_EDF[i])
            y[b, t] += w * ((gate * (x[b, t] @ e.up_EDF[i])) @ e.down_EFD[i])
    return y + (model.shared(x) if model.shared else 0)


@pytest.mark.parametrize("changes", [{}, {"top_k": 1}, {"top_k": 4}, {"normalize": False}, {"shared": 2}])
def test_experts_are_the_equation_token_by_token(changes):
    model, x = layer(**changes), torch.randn(2, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(model(x)[0], naive(model, x))


def test_gradients_are_those_of_the_token_by_token_form():
    model, x = layer(), torch.randn(2, 9, 8, dtype=torch.float64, requires_grad=True)
    inputs = [x, *model.parameters()]
    ours, theirs = (torch.autograd.grad(y.sin().sum(), inputs) for y in (model(x)[0], naive(model, x)))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_the_grouped_product_and_the_loop_agree(monkeypatch, bfloat16):
    model, x = layer(torch.float32), torch.randn(2, 32, 8)
    results = []
    for on_cpu in (True, False):
        monkeypatch.setattr(moe, "runs_on_cpu", lambda _, answer=on_cpu: answer)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            y = model(x)[0]
        results.append((y, *torch.autograd.grad(y.float().sum(), model.parameters())))
    tolerance = {"rtol": 0.05, "atol": 0.05} if bfloat16 else {}
    torch.testing.assert_close(*results, **tolerance)


def test_an_expert_without_tokens_is_no_obstacle():
    model = layer()
    with torch.no_grad():
        model.router.weight[3] = -100 * model.router.weight[:3].abs().sum()
    x = torch.rand(1, 5, 8, dtype=torch.float64)
    y, routing = model(x)
    y.sum().backward()
    assert routing.load_BE.sum(0)[3] == 0
    assert not model.experts.up_EDF.grad[3].any()


def test_the_balance_loss_is_its_coefficient_when_perfectly_uniform():
    model = layer(balance=0.3, z=0.0, experts=4, top_k=4)
    torch.nn.init.zeros_(model.router.weight)
    torch.testing.assert_close(
        model(torch.randn(3, 8, 8).double())[1].auxiliary_B, torch.full((3,), 0.3).double()
    )


def test_the_auxiliary_loss_is_the_equation_for_each_sequence_alone():
    model, x = layer(), torch.randn(3, 9, 8, dtype=torch.float64)
    routing = model(x)[1]
    for sequence, got in zip(x, routing.auxiliary_B, strict=True):
        logits = sequence @ model.router.weight.mT
        p = logits.softmax(-1)
        f = torch.nn.functional.one_hot(p.topk(2).indices, 4).sum((0, 1)) / (9 * 2)
        expected = 0.1 * 4 * (f * p.mean(0)).sum() + 0.01 * logits.exp().sum(-1).log().square().mean()
        torch.testing.assert_close(got, expected)
    parts = [model(part)[1] for part in x.split([1, 2])]
    torch.testing.assert_close(torch.cat([part.auxiliary_B for part in parts]), routing.auxiliary_B)
    assert routing.load_BE.sum() == 3 * 9 * 2
    assert not routing.load_BE.requires_grad


def test_the_router_stays_in_fp32_under_autocast():
    model, x = layer(torch.float32), torch.randn(2, 9, 8)
    with torch.autocast("cpu", torch.bfloat16):
        low = model(x)[1]
    torch.testing.assert_close(low.auxiliary_B, model(x)[1].auxiliary_B)


def test_bfloat16_error_is_within_three_times_that_of_one_dense_expert():
    model, x = layer(torch.float32, experts=2, top_k=2), torch.randn(4, 64, 8)
    e, exact = model.experts, naive(model, x)

    def dense(i):
        return (torch.nn.functional.silu(x @ e.gate_EDF[i]) * (x @ e.up_EDF[i])) @ e.down_EFD[i]

    with torch.autocast("cpu", torch.bfloat16):
        weight = (x.float() @ model.router.weight.mT).softmax(-1)
        reference = weight[..., :1] * dense(0) + weight[..., 1:] * dense(1)
        ours = model(x)[0]
    assert (ours - exact).norm() <= 3 * (reference - exact).norm()


@pytest.mark.parametrize("top_k", [0, 5])
def test_more_choices_than_experts_are_refused(top_k):
    with pytest.raises(ValueError, match=f"router.top_k={top_k} must lie between 1 and experts=4"):
        layer(top_k=top_k)


def test_experts_with_a_rectifier_are_the_equation_and_the_grouped_product_agrees(monkeypatch):
    torch.manual_seed(0)
    experts, x, counts = ReLUExperts(8, 16, 3), torch.randn(7, 8), [4, 0, 3]
    for parameter in experts.parameters():
        torch.nn.init.normal_(parameter)
    end = torch.tensor(counts).cumsum(0).to(torch.int32)
    rows = zip(x.split(counts), experts.up_EDF, experts.down_EFD, strict=True)
    expected = torch.cat([(part @ up).clamp_min(0) @ down for part, up, down in rows])
    torch.testing.assert_close(experts(x, end), expected)
    monkeypatch.setattr(moe, "runs_on_cpu", lambda _: False)
    torch.testing.assert_close(experts(x, end), expected)


def test_one_token_alone_gets_what_it_gets_in_a_sequence_and_teaches_as_much():
    model, x = layer(experts=4, top_k=3).eval(), torch.randn(1, 5, 8, dtype=torch.float64)
    whole = model(x)[0]
    alone = torch.cat([model(x[:, t : t + 1])[0] for t in range(5)], 1)
    torch.testing.assert_close(alone, whole)
    for ours, theirs in zip(
        *(torch.autograd.grad(y.sin().sum(), model.parameters()) for y in (alone, whole)), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_experts_to_whom_nothing_came_still_have_a_gradient():
    experts = layer().experts
    y = experts(torch.empty(0, 8, dtype=torch.float64), torch.zeros(4, dtype=torch.int32))
    y.sum().backward()
    assert y.shape == (0, 8)
    assert all(p.grad is not None and not p.grad.any() for p in experts.parameters())


@pytest.mark.parametrize(("top_k", "shared"), [(1, 0), (2, 0), (4, 0), (2, 2)])
def test_without_a_hidden_size_a_tokens_experts_are_as_wide_as_a_dense_layer(top_k, shared):
    router = partial(TopK, top_k=top_k, normalize=True, balance=0.1, z=0.01, over_layers="sum")
    model = MixtureOfExperts(96, None, 8, shared, router, None)
    met = top_k * model.experts.gate_EDF.shape[-1] + (model.shared.gate.out_features if shared else 0)
    assert met == SwiGLU(96, None, bias=False, dropout=0.0).gate.out_features


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_grouped_product_is_the_same_compiled_on_meta_and_by_expert_with_an_expert_idle(dtype):
    x, weight = torch.randn(12, 16, dtype=dtype), torch.randn(3, 16, 8, dtype=dtype)
    end = torch.tensor([5, 5, 12], dtype=torch.int32)
    wanted = torch.cat([x[:5] @ weight[0], x[5:] @ weight[2]])
    torch.testing.assert_close(moe.grouped_product(x, weight, end), wanted)
    compiled = torch.compile(moe.grouped_product, backend="eager")
    torch.testing.assert_close(compiled(x, weight, end), wanted)
    for hollow in (torch.device("meta"), FakeTensorMode()):
        with hollow:
            shapes = torch.empty(12, 16, dtype=dtype), torch.empty(3, 16, 8, dtype=dtype)
            y = moe.grouped_product(*shapes, torch.empty(3, dtype=torch.int32))
        assert (y.shape, y.dtype) == (wanted.shape, dtype)


def test_a_grouped_product_on_a_gpu_that_is_imagined_has_a_shape():
    with FakeTensorMode(), torch.device("cuda"):
        x, weight = torch.empty(12, 16), torch.empty(3, 16, 8)
        y = moe.grouped_product(x, weight, torch.empty(3, dtype=torch.int32))
    assert (y.shape, y.dtype, y.device.type) == ((12, 8), torch.float32, "cuda")
