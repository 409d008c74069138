import pytest
import torch

from triad.layers.attention import Attention, KeyValueCache, flash, plain
from triad.layers.mask import ALiBi, Window, slopes

MASKS = [Window(3), ALiBi(4), ALiBi(6)]


def naive(mask, q, k, v):
    """softmax(q k^T / sqrt(H) + what the paper adds) v, over the keys that it shows, query by query."""
    y = torch.zeros_like(q)
    past, group = k.shape[2] - q.shape[2], q.shape[1] // k.shape[1]
    for b, n, t in torch.cartesian_prod(*map(torch.arange, q.shape[:3])).tolist():
        here = past + t
        first = max(0, here - mask.size + 1) if isinstance(mask, Window) else 0
        keys, values = k[b, n // group, first : here + 1], v[b, n // group, first : here + 1]
        scores = keys @ q[b, n, t] / q.shape[-1] ** 0.5
        if isinstance(mask, ALiBi):
            scores = scores - slopes(mask.heads)[n] * torch.arange(here, -1, -1)
        y[b, n, t] = scores.softmax(0) @ values
    return y


def inputs(heads, kv_heads, new, total, size=8):
    torch.manual_seed(0)
    q = torch.randn(2, heads, new, size, dtype=torch.float64)
    return q, *torch.randn(2, 2, kv_heads, total, size, dtype=torch.float64)


@pytest.mark.parametrize("kernel", [flash, plain])
@pytest.mark.parametrize("mask", MASKS, ids=repr)
@pytest.mark.parametrize(("new", "total"), [(7, 7), (3, 8), (1, 5)])
@pytest.mark.parametrize("group", [1, 2])
def test_both_kernels_are_the_equation(kernel, mask, new, total, group):
    heads = getattr(mask, "heads", 4)
    q, k, v = inputs(heads, heads // group, new, total)
    torch.testing.assert_close(kernel(q, k, v, 0.0, mask), naive(mask, q, k, v))


@pytest.mark.parametrize("mask", MASKS, ids=repr)
def test_the_kernels_have_equal_gradients(mask):
    heads = getattr(mask, "heads", 4)
    tensors = [tensor.requires_grad_() for tensor in inputs(heads, heads // 2, 9, 9)]
    one, two = (
        torch.autograd.grad(kernel(*tensors, 0.0, mask).square().sum(), tensors) for kernel in (flash, plain)
    )
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("kernel", [flash, plain])
@pytest.mark.parametrize("mask", [Window(16), ALiBi(4)], ids=repr)
def test_bfloat16_error_is_within_three_times_the_reference(kernel, mask):
    q, k, v = inputs(4, 4, 64, 64, 32)
    exact = kernel(q, k, v, 0.0, mask)
    low = [tensor.bfloat16() for tensor in (q, k, v)]
    reference = torch.nn.functional.scaled_dot_product_attention(*low, attn_mask=mask(q, 64).bfloat16())
    assert (kernel(*low, 0.0, mask) - exact).norm() <= 3 * (reference - exact).norm()


def test_a_window_as_long_as_the_text_hides_nothing():
    q, k, v = inputs(4, 4, 7, 7)
    torch.testing.assert_close(flash(q, k, v, 0.0, Window(7)), flash(q, k, v))
    assert not torch.allclose(flash(q, k, v, 0.0, Window(6)), flash(q, k, v))


def test_slopes_are_the_papers():
    assert slopes(8).tolist() == [2.0**-n for n in range(1, 9)]
    assert slopes(6).tolist() == [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125]


def test_some_of_the_heads_have_their_own_slopes():
    q, k, v = inputs(6, 6, 5, 5)
    some = ALiBi(6)
    some.first = 2
    whole = flash(q, k, v, 0.0, ALiBi(6))
    torch.testing.assert_close(flash(q[:, 2:5], k[:, 2:5], v[:, 2:5], 0.0, some), whole[:, 2:5])


@pytest.mark.parametrize("kernel", [flash, plain])
@pytest.mark.parametrize("mask", MASKS[:2], ids=repr)
def test_a_cache_changes_nothing_whatever_the_pieces(kernel, mask):
    torch.manual_seed(0)
    attention = Attention(32, 4, 2, 8, False, 0.0, lambda: mask, None, None, None)
    attention.kernel = kernel
    x, cache = torch.randn(2, 9, 32), KeyValueCache(2, 10)
    with torch.no_grad():
        pieces = [attention(piece, cache) for piece in x.split([4, 1, 3, 1], dim=1)]
        torch.testing.assert_close(torch.cat(pieces, 1), attention(x))


def test_a_window_without_room_is_refused():
    with pytest.raises(ValueError, match="size=0"):
        Window(0)
