from functools import partial

import pytest
import torch

from triad.layers.attention import KeyValueCache, flash, plain
from triad.layers.flops import Rows
from triad.layers.latent_attention import LatentAttention
from triad.layers.norm import RMSNorm
from triad.layers.position import Rotary


def layer(query_rank=12, kernel=flash, **changes):
    torch.manual_seed(0)
    sizes = {"key_value_rank": 10, "content_size": 8, "rotary_size": 4, "value_size": 6} | changes
    norm, rotary = partial(RMSNorm, eps=1e-6), partial(Rotary, base=100.0)
    made = LatentAttention(32, 4, query_rank, **sizes, dropout=0.0, norm=norm, rotary=rotary)
    made.kernel = kernel
    return made


def naive(a, x):
    """The equations of DeepSeek-V2, 9 to 19, head by head."""
    turn = Rotary(a.rotary_size, 100.0)
    c, r = a.kv_latent(x).split((10, 4), -1)
    c, r = a.kv_norm(c), turn(r[:, None], r[:, None])[0][:, 0]
    heads = []
    visible = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
    for q, kv in zip(a.q(a.q_norm(a.q_latent(x))).chunk(4, -1), a.kv(c).chunk(4, -1), strict=True):
        (q_c, q_r), (k_c, v) = q.split((8, 4), -1), kv.split((8, 6), -1)
        q_r = turn(q_r[:, None], q_r[:, None])[0][:, 0]
        scores = (q_c @ k_c.mT + q_r @ r.mT) / 12**0.5
        heads.append(scores.masked_fill(~visible, float("-inf")).softmax(-1) @ v)
    return a.out(torch.cat(heads, -1))


@pytest.mark.parametrize("kernel", [flash, plain])
@pytest.mark.parametrize("query_rank", [12, None])
def test_it_is_the_equation(query_rank, kernel):
    attention, x = layer(query_rank, kernel).double(), torch.randn(2, 7, 32, dtype=torch.float64)
    torch.testing.assert_close(attention(x), naive(attention, x))


@pytest.mark.parametrize("kernel", [flash, plain])
@pytest.mark.parametrize("pieces", [[4, 1, 3, 1], [1] * 9])
def test_a_cache_of_latents_changes_nothing_whatever_the_pieces(kernel, pieces):
    attention = layer(kernel=kernel)
    x, cache = torch.randn(2, 9, 32), KeyValueCache(2, 10)
    with torch.no_grad():
        parts = [attention(piece, cache) for piece in x.split(pieces, dim=1)]
        torch.testing.assert_close(torch.cat(parts, 1), attention(x))


def test_the_cache_holds_one_latent_and_one_rotated_key_for_all_heads():
    cache = KeyValueCache(2, 10)
    with torch.no_grad():
        layer()(torch.randn(2, 9, 32), cache)
    assert cache.k.shape == (2, 1, 10, 10)
    assert cache.v.shape == (2, 1, 10, 4)


def test_bfloat16_error_is_within_three_times_the_reference():
    attention, x = layer(), torch.randn(2, 32, 32)
    exact = attention(x)
    with torch.autocast("cpu", torch.bfloat16):
        low, reference = attention(x), naive(attention, x)
    assert low.dtype == torch.bfloat16
    assert (low - exact).norm() <= 3 * (reference - exact).norm()


def test_deepseek_v3_s_attention_has_its_published_size():
    with torch.device("meta"):
        attention = LatentAttention(
            7168, 128, 1536, 512, 128, 64, 128, 0.0, partial(RMSNorm, eps=1e-6), partial(Rotary, base=1e4)
        )
    q, kv, out = 7168 * 1536 + 1536 * 128 * 192, 7168 * 576 + 512 * 128 * 256, 128 * 128 * 7168
    assert sum(p.numel() for p in attention.parameters()) == q + kv + out + 1536 + 512 == 187_107_328
    assert attention.mixing_flops(Rows(torch.tensor([1]), None, False)) == 6 * 128 * (192 + 128)
