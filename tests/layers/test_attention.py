from functools import partial

import pytest
import torch

from triad.layers.attention import Attention, KeyValueCache, flash, plain
from triad.layers.key_shift import KeyShift
from triad.layers.norm import RMSNorm
from triad.layers.position import Rotary


def naive(q, k, v):
    """softmax(q k^T / sqrt(H)) v over the past, one query at a time."""
    y = torch.zeros_like(q)
    past, group = k.shape[2] - q.shape[2], q.shape[1] // k.shape[1]
    for b, n, t in [
        (b, n, t) for b in range(q.shape[0]) for n in range(q.shape[1]) for t in range(q.shape[2])
    ]:
        keys, values = k[b, n // group, : past + t + 1], v[b, n // group, : past + t + 1]
        y[b, n, t] = (keys @ q[b, n, t] / q.shape[-1] ** 0.5).softmax(0) @ values
    return y


def layer(heads=4, kv_heads=None, **more):
    torch.manual_seed(0)
    arguments = {"head_size": None, "bias": False, "dropout": 0.0, "mask": None} | more
    arguments = {"rotary": None, "query_key_norm": None, "key_shift": None} | arguments
    return Attention(32, heads, kv_heads, **arguments)


@pytest.mark.parametrize("kernel", [flash, plain])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "new", "total"), [(4, 4, 7, 7), (4, 2, 7, 7), (6, 2, 3, 8), (4, 4, 1, 5)]
)
def test_both_kernels_are_the_equation(kernel, heads, kv_heads, new, total):
    q = torch.randn(2, heads, new, 8, dtype=torch.float64)
    k, v = torch.randn(2, 2, kv_heads, total, 8, dtype=torch.float64)
    torch.testing.assert_close(kernel(q, k, v), naive(q, k, v))


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_the_kernels_have_equal_gradients(kv_heads):
    inputs = [torch.randn(2, n, 16, 8, requires_grad=True) for n in (4, kv_heads, kv_heads)]
    one, two = (torch.autograd.grad(kernel(*inputs).square().sum(), inputs) for kernel in (flash, plain))
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("scale", [1, 3, 10, 30])
@pytest.mark.parametrize("kernel", [flash, plain])
def test_bfloat16_error_is_within_three_times_the_reference(kernel, scale, autocast):
    """Of results and gradients, for queries of any size; what counts is the error that the kernel adds."""
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 64, 32).bfloat16()
    outer = torch.randn(2, 4, 64, 32).bfloat16()

    def differentiate(run, dtype):
        tensors = [(t * s).to(dtype).requires_grad_() for t, s in ((q, scale), (k, 1), (v, 1))]
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast and run is kernel):
            y = run(*tensors)
        return y.detach(), *torch.autograd.grad(y, tensors, outer.to(dtype))

    reference = partial(torch.nn.functional.scaled_dot_product_attention, is_causal=True)
    found = differentiate(kernel, torch.bfloat16)
    exact, theirs = (differentiate(reference, dtype) for dtype in (torch.float64, torch.bfloat16))
    for ours, right, low in zip(found, exact, theirs, strict=True):
        assert ours.dtype == torch.bfloat16
        assert (ours - right).norm() <= 3 * (low - right).norm()


def test_grouped_heads_are_ordinary_heads_with_repeated_keys():
    grouped, full = layer(4, 2), layer(4, 4)
    full.load_state_dict(
        grouped.state_dict()
        | {
            f"{n}.weight": getattr(grouped, n)
            .weight.unflatten(0, (2, 8))
            .repeat_interleave(2, 0)
            .flatten(0, 1)
            for n in "kv"
        }
    )
    x = torch.randn(2, 9, 32)
    torch.testing.assert_close(grouped(x), full(x))


@pytest.mark.parametrize("shift", [None, partial(KeyShift, fraction=0.5)])
@pytest.mark.parametrize("kernel", [flash, plain])
def test_a_cache_changes_nothing_whatever_the_pieces(kernel, shift):
    parts = {"rotary": partial(Rotary, base=100.0), "query_key_norm": partial(RMSNorm, eps=1e-5)}
    attention = layer(4, 2, **parts, key_shift=shift)
    attention.kernel = kernel
    x, cache = torch.randn(2, 9, 32), KeyValueCache(2, 10)
    with torch.no_grad():
        pieces = [attention(piece, cache) for piece in x.split([4, 1, 3, 1], dim=1)]
        torch.testing.assert_close(torch.cat(pieces, 1), attention(x))


def test_shifted_keys_carry_the_slow_pairs_of_the_token_before():
    k = torch.randn(2, 3, 5, 8)
    shifted = KeyShift(8, fraction=0.25)(k)
    for channel in range(8):
        before = torch.cat((torch.zeros(2, 3, 1), k[:, :, :-1, channel]), 2)
        expected = before if channel in (3, 7) else k[..., channel]  # the last of four pairs
        assert torch.equal(shifted[..., channel], expected)
    assert torch.equal(KeyShift(8, fraction=0.0)(k), k)


def test_scores_of_rotated_and_shifted_keys_depend_on_distances_only():
    q, k = torch.randn(2, 1, 1, 6, 8, dtype=torch.float64)
    rotary, shift = Rotary(8, 100.0), KeyShift(8, fraction=0.5)
    scores = []
    for offset in (0, 7):
        turned_q, turned_k = rotary(q, k, offset)
        scores.append(turned_q @ shift(turned_k).mT)
    torch.testing.assert_close(*scores)


@pytest.mark.parametrize(("size", "fraction"), [(8, 1.5), (7, 0.5)])
def test_a_part_of_a_key_that_cannot_be_shifted_is_refused(size, fraction):
    with pytest.raises(ValueError, match=f"fraction={fraction} head_size={size}"):
        KeyShift(size, fraction)


def test_a_full_cache_says_so():
    cache = KeyValueCache(1, 4)
    with pytest.raises(ValueError, match=r"context=4.*5 tokens"):
        cache.extend(*torch.randn(2, 1, 2, 5, 8))


@pytest.mark.parametrize("kernel", [flash, plain])
def test_dropout_falls_in_training_only(kernel):
    attention = layer(dropout=0.5)
    attention.kernel = kernel
    x = torch.randn(2, 9, 32)
    assert not torch.equal(attention(x), attention(x))
    attention.eval()
    assert torch.equal(attention(x), attention(x))


@pytest.mark.parametrize(
    ("heads", "kv_heads", "message"),
    [
        (5, None, "heads=5 does not divide width=32; try heads=4 or 8"),
        (8, 3, "kv_heads=3 .* heads=8; try kv_heads=2 or 4"),
    ],
)
def test_heads_that_do_not_divide_are_refused_with_a_remedy(heads, kv_heads, message):
    with pytest.raises(ValueError, match=message):
        layer(heads, kv_heads)
