from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from triad.layers.attention import Attention, KeyValueCache, flash, plain
from triad.layers.key_shift import KeyShift
from triad.layers.mask import ALiBi, Window, slopes
from triad.layers.position import Rotary

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
@pytest.mark.parametrize(("new", "total"), [(7, 7), (3, 8), (1, 5), (8, 10), (9, 12), (10, 17)])
@pytest.mark.parametrize("group", [1, 2])
def test_both_kernels_are_the_equation(kernel, mask, new, total, group):
    heads = getattr(mask, "heads", 4)
    q, k, v = inputs(heads, heads // group, new, total)
    torch.testing.assert_close(kernel(q, k, v, 0.0, mask), naive(mask, q, k, v))


@pytest.mark.parametrize("mask", MASKS, ids=repr)
@pytest.mark.parametrize("past", [0, 2, 3, 5])
def test_the_kernels_have_equal_gradients(mask, past):
    heads = getattr(mask, "heads", 4)
    tensors = [tensor.requires_grad_() for tensor in inputs(heads, heads // 2, 9, 9 + past)]
    one, two = (
        torch.autograd.grad(kernel(*tensors, 0.0, mask).square().sum(), tensors) for kernel in (flash, plain)
    )
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("scale", [1, 10])
@pytest.mark.parametrize("kernel", [flash, plain])
@pytest.mark.parametrize("mask", [Window(16), ALiBi(4)], ids=repr)
def test_bfloat16_error_is_within_three_times_the_reference(kernel, mask, scale):
    q, k, v = inputs(4, 4, 64, 64, 32)
    low = [tensor.bfloat16() for tensor in (q * scale, k, v)]
    exact = flash(*(tensor.double() for tensor in low), 0.0, mask)
    reference = torch.nn.functional.scaled_dot_product_attention(*low, attn_mask=mask(q, 64).bfloat16())
    assert (kernel(*low, 0.0, mask) - exact).norm() <= 3 * (reference - exact).norm()


class Operations(TorchDispatchMode):
    """The names of the operations that are called."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("mask", [None, Window(3), ALiBi(4)], ids=repr)
def test_flash_takes_the_kernel_that_does_not_store_the_scores(mask, kv_heads):
    with Operations() as called:
        flash(*(tensor.float() for tensor in inputs(4, kv_heads, 7, 7)), 0.0, mask)
    assert "_scaled_dot_product_flash_attention_for_cpu" in called.names
    assert not any("softmax" in name for name in called.names)


def test_a_window_multiplies_only_the_keys_within_reach():
    """Of 64 queries in bands of 4 each meets 8 keys: an eighth of all."""
    q, k, v = inputs(4, 2, 64, 64)
    whole, window = FlopCounterMode(display=False), FlopCounterMode(display=False)
    with whole:
        flash(q, k, v)
    with window:
        flash(q, k, v, 0.0, Window(4))
    assert window.get_total_flops() <= whole.get_total_flops() / 8


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


PIECES = [[4, 1, 3, 1], [1] * 9, [1, 8], [2, 2, 5]]


@pytest.mark.parametrize("pieces", PIECES, ids=str)
@pytest.mark.parametrize("shift", [None, partial(KeyShift, fraction=0.5)], ids=["", "key shift"])
@pytest.mark.parametrize("kernel", [flash, plain])
@pytest.mark.parametrize("mask", [Window(1), *MASKS[:2]], ids=repr)
def test_a_cache_changes_nothing_whatever_the_pieces(kernel, mask, shift, pieces):
    torch.manual_seed(0)
    rotary = partial(Rotary, base=100.0)
    attention = Attention(32, 4, 2, 8, False, 0.0, lambda: mask, rotary, None, shift)
    attention.kernel = kernel
    x, cache = torch.randn(2, 9, 32), KeyValueCache(2, 10)
    with torch.no_grad():
        found = [attention(piece, cache) for piece in x.split(pieces, dim=1)]
        torch.testing.assert_close(torch.cat(found, 1), attention(x))
    assert cache.length == 9
    assert cache.k.shape[2] == cache.v.shape[2] == (mask.size if isinstance(mask, Window) else 10)
    assert cache.k.untyped_storage().nbytes() == cache.k.numel() * cache.k.element_size()


def test_a_window_does_not_let_more_tokens_into_a_cache_than_its_context():
    attention = Attention(32, 4, 2, 8, False, 0.0, lambda: Window(3), None, None, None)
    cache = KeyValueCache(1, 8)
    with torch.no_grad():
        attention(torch.randn(1, 7, 32), cache)
        with pytest.raises(ValueError, match=r"context=8.*9 tokens"):
            attention(torch.randn(1, 2, 32), cache)


def test_a_window_without_room_is_refused():
    with pytest.raises(ValueError, match="size=0"):
        Window(0)
