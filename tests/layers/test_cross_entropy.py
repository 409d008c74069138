from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from torch.nn import functional as F

from triad.layers.cross_entropy import Vocabulary, cross_entropy_sum


def example(n=23, width=8, vocabulary=11, dtype=torch.float32):
    torch.manual_seed(0)
    hidden = torch.randn(1, n, width, dtype=dtype, requires_grad=True)
    weight = torch.randn(vocabulary, width, dtype=dtype, requires_grad=True)
    targets = torch.randint(vocabulary, (1, n))
    targets[0, ::5] = -100
    return hidden, weight, targets


def reference(hidden, weight, targets):
    return F.cross_entropy(F.linear(hidden, weight).float().flatten(0, 1), targets.flatten(), reduction="sum")


@pytest.mark.parametrize("chunk", [None, 1, 7, 23, 100])
def test_loss_and_gradients_equal_torchs(chunk):
    hidden, weight, targets = example()
    loss, expected = cross_entropy_sum(hidden, weight, targets, chunk), reference(hidden, weight, targets)
    torch.testing.assert_close(loss, expected)
    gradients, exact = (torch.autograd.grad(3 * value, (hidden, weight)) for value in (loss, expected))
    torch.testing.assert_close(gradients, exact)


@pytest.mark.parametrize("chunk", [None, 7])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("biased", [False, True])
def test_a_bias_and_smoothed_targets_are_torchs(chunk, smoothing, biased):
    hidden, weight, targets = example(dtype=torch.float64)
    bias = torch.randn(11, dtype=torch.float64, requires_grad=True) if biased else None
    loss = cross_entropy_sum(hidden, weight, targets, chunk, bias_V=bias, smoothing=smoothing)
    logits = F.linear(hidden, weight, bias).flatten(0, 1)
    expected = F.cross_entropy(logits, targets.flatten(), reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(loss, expected)
    inputs = (hidden, weight, bias) if biased else (hidden, weight)
    torch.testing.assert_close(torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_z_loss_is_the_square_of_the_logarithm_of_z(dtype, smoothing):
    hidden, weight, targets = example(dtype=torch.float64)
    inputs = [x.to(dtype).detach().requires_grad_() for x in (hidden, weight)]
    loss = cross_entropy_sum(*inputs, targets, 7, smoothing=smoothing, z_loss=0.1)
    logits = F.linear(hidden, weight).flatten(0, 1)
    expected = F.cross_entropy(logits, targets.flatten(), reduction="sum", label_smoothing=smoothing)
    expected = expected + 0.1 * logits.logsumexp(-1)[targets.flatten() != -100].square().sum()
    close = {"rtol": 1e-12, "atol": 1e-12} if dtype is torch.float64 else {"rtol": 0.02, "atol": 0.2}
    torch.testing.assert_close(loss.double(), expected, **close)
    gradients = [g.double() for g in torch.autograd.grad(loss, inputs)]
    torch.testing.assert_close(gradients, list(torch.autograd.grad(expected, (hidden, weight))), **close)


def test_a_slice_of_the_vocabulary_takes_no_bias():
    hidden, weight, targets = example()
    with pytest.raises(ValueError, match="in one piece"):
        cross_entropy_sum(hidden, weight, targets, vocabulary=Vocabulary(0, 11), bias_V=weight[:, 0])


def test_gradients_pass_a_check_in_double_precision():
    hidden, weight, targets = example(dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda h, w: cross_entropy_sum(h, w, targets, 7), (hidden, weight))


@pytest.mark.parametrize("frozen", [0, 1])
def test_either_input_may_be_frozen(frozen):
    *inputs, targets = example()
    inputs[frozen].requires_grad_(False)
    cross_entropy_sum(*inputs, targets, 7).backward()
    assert inputs[frozen].grad is None
    assert inputs[1 - frozen].grad is not None


def test_without_gradients_only_the_loss_is_made():
    hidden, weight, targets = example()
    with torch.no_grad():
        loss = cross_entropy_sum(hidden, weight, targets, 7)
    torch.testing.assert_close(loss, reference(hidden, weight, targets).detach())
    assert not loss.requires_grad


def test_targets_all_ignored_make_a_zero():
    hidden, weight, targets = example()
    loss = cross_entropy_sum(hidden, weight, targets.fill_(-100))
    loss.backward()
    assert loss == 0
    assert not hidden.grad.any()
    assert not weight.grad.any()


@pytest.mark.parametrize("weight_dtype", [torch.float32, torch.bfloat16])
def test_under_bfloat16_autocast_the_error_is_within_three_times_torchs(weight_dtype):
    hidden, weight, targets = example(512, 64, 300)
    weight = weight.detach().mul(0.2).to(weight_dtype).requires_grad_()
    exact = torch.autograd.grad(value := reference(hidden, weight.float(), targets), (hidden, weight))
    with torch.autocast("cpu", torch.bfloat16):
        pairs = cross_entropy_sum(hidden, weight, targets, 64), reference(hidden, weight, targets)
    assert pairs[0].dtype == torch.float32
    assert (pairs[0] - value).abs() <= 3 * (pairs[1] - value).abs() + 1e-3 * value
    ours, theirs = (torch.autograd.grad(loss, (hidden, weight)) for loss in pairs)
    for got, low, truth in zip(ours, theirs, exact, strict=True):
        assert got.dtype == truth.dtype
        assert (got - truth).norm() <= 3 * (low - truth).norm()


def test_the_logits_of_the_whole_batch_are_never_held():
    from torch.profiler import ProfilerActivity, profile

    def peak(function):
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            function(*example(4096, 8, 4096)).backward()
        held = highest = 0
        for event in profiler.profiler.kineto_results.events():
            if event.name() == "[memory]":
                held += event.nbytes()
                highest = max(highest, held)
        return highest

    logits = 4096 * 4096 * 4
    assert peak(cross_entropy_sum) < logits / 2 < logits < peak(reference)


def sliced(hidden, weight, targets, slices, chunk, smoothing=0.0, z_loss=0.0):
    """The loss and gradients by as many threads, each with some rows of the weight."""
    barrier, parts = Barrier(slices), [None] * slices
    rows = weight.detach().chunk(slices)

    def work(index):
        def combined(operation):
            def combine(x):
                parts[index] = x
                barrier.wait()
                whole = operation(torch.stack(parts))
                barrier.wait()
                return whole

            return combine

        add, largest = combined(lambda x: x.sum(0)), combined(lambda x: x.amax(0))
        vocabulary = Vocabulary(index * len(rows[0]), len(rows[0]), len(weight), add, largest)
        h, w = hidden.detach().requires_grad_(), rows[index].clone().requires_grad_()
        loss = cross_entropy_sum(h, w, targets, chunk, vocabulary, None, smoothing, z_loss)
        return loss.detach(), *torch.autograd.grad(3 * loss, (h, w))

    with ThreadPoolExecutor(slices) as pool:
        losses, d_hidden, d_weight = zip(*pool.map(work, range(slices)), strict=True)
    return losses, sum(d_hidden), torch.cat(d_weight)


@pytest.mark.parametrize("chunk", [None, 7])
@pytest.mark.parametrize("slices", [1, 2, 3])
@pytest.mark.parametrize(("smoothing", "z_loss"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.5), (0.3, 0.5)])
def test_slices_of_a_vocabulary_agree_on_the_loss_and_their_gradients_are_the_wholes(
    slices, chunk, smoothing, z_loss
):
    hidden, weight, targets = example(dtype=torch.float64)
    losses, *gradients = sliced(hidden, weight, targets, slices, chunk, smoothing, z_loss)
    logits = F.linear(hidden, weight).flatten(0, 1)
    expected = F.cross_entropy(logits, targets.flatten(), reduction="sum", label_smoothing=smoothing)
    kept = targets.flatten() != -100
    expected = expected + z_loss * logits.logsumexp(-1)[kept].square().sum()
    for loss in losses:
        torch.testing.assert_close(loss, expected.detach(), rtol=1e-13, atol=0)
    exact = torch.autograd.grad(3 * expected, (hidden, weight))
    torch.testing.assert_close(gradients, list(exact), rtol=1e-12, atol=1e-13)
