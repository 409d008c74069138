import pytest
import torch
from transformers.models.distilbert.modeling_distilbert import create_sinusoidal_embeddings
from transformers.models.t5.modeling_t5 import T5Attention

from triad.layers.full_attention import (
    CrossAttentionCache,
    FullAttention,
    SelfAttentionCache,
    causal_mask,
    mask_bias,
    visible_mask,
)
from triad.layers.relative_bias import RelativeBias
from triad.layers.residual_connection import PostNormConnection, PreNormConnection
from triad.layers.sinusoidal import Sinusoidal


def layer(**changes) -> FullAttention:
    torch.manual_seed(0)
    options = {"heads": 4, "bias": True, "dropout": 0.0, "scale": None} | changes
    return FullAttention(32, **options).double()


def naive(attention: FullAttention, x, memory, seen, bias=None):
    """One head, one token at a time."""
    size = attention.q.out_features // attention.heads
    q, k, v = attention.q(x), attention.k(memory), attention.v(memory)
    y = torch.zeros(*x.shape[:2], attention.v.out_features, dtype=x.dtype)
    for b in range(len(x)):
        for n, (head, value) in enumerate(
            zip(q[b].split(size, -1), v[b].chunk(attention.heads, -1), strict=True)
        ):
            keys = k[b, :, n * size : (n + 1) * size]
            for t in range(x.shape[1]):
                at = [s for s in range(memory.shape[1]) if seen(b, t, s)]
                scores = torch.stack([head[t] @ keys[s] for s in at])
                scores = scores * (attention.scale or size**-0.5)
                if bias is not None:
                    scores = scores + bias[n, t, at]
                width = value.shape[-1]
                y[b, t, n * width : (n + 1) * width] = scores.softmax(0) @ value[at]
    return attention.out(y)


@pytest.mark.parametrize("changes", [{}, {"scale": 1.0}, {"head_size": 6, "value_size": 10}, {"bias": False}])
def test_attention_is_what_the_equation_says(changes) -> None:
    attention = layer(**changes)
    x, memory = torch.randn(2, 5, 32).double(), torch.randn(2, 7, 32).double()
    words = torch.ones(2, 7, dtype=torch.long)
    words[0, 4:] = -1
    expected = naive(attention, x, memory, lambda b, t, s: words[b, s] >= 0)
    torch.testing.assert_close(attention(x, memory, visible_mask(words)), expected)


def test_a_bias_is_added_where_something_is_seen() -> None:
    attention, bias = layer(), torch.randn(4, 6, 6).double()
    x = torch.randn(1, 6, 32).double()
    expected = naive(attention, x, x, lambda b, t, s: s <= t, bias)
    torch.testing.assert_close(attention(x, x, mask_bias(bias, causal_mask(6, 0, x.device))), expected)


def test_caches_change_nothing_whatever_the_pieces() -> None:
    attention = layer(value_size=4)
    x, memory = torch.randn(2, 6, 32).double(), torch.randn(2, 5, 32).double()
    grown, kept, own, other = SelfAttentionCache(2, 6), CrossAttentionCache(), [], []
    for piece in x.split([3, 1, 2], dim=1):
        new, past = piece.shape[1], grown.length
        own.append(attention(piece, piece, causal_mask(new, past, x.device), grown))
        other.append(attention(piece, memory if not other else memory[:, :0], None, kept))
    torch.testing.assert_close(torch.cat(own, 1), attention(x, x, causal_mask(6, 0, x.device)))
    torch.testing.assert_close(torch.cat(other, 1), attention(x, memory, None))


def test_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="heads=5 does not divide width=32"):
        layer(heads=5)


def test_attention_is_torchs() -> None:
    attention, torchs = layer(), torch.nn.MultiheadAttention(32, 4, batch_first=True).double()
    own = attention.state_dict()
    for kind in ("weight", "bias"):
        getattr(torchs, f"in_proj_{kind}").data = torch.cat([own[f"{part}.{kind}"] for part in "qkv"])
        getattr(torchs.out_proj, kind).data = own[f"out.{kind}"]
    x, memory = torch.randn(2, 5, 32).double(), torch.randn(2, 7, 32).double()
    words = torch.ones(2, 7, dtype=torch.long)
    words[0, 4:] = -1
    expected = torchs(x, memory, memory, key_padding_mask=words < 0, need_weights=False)[0]
    torch.testing.assert_close(attention(x, memory, visible_mask(words)), expected)


def test_sinusoids_are_those_of_transformers() -> None:
    create_sinusoidal_embeddings(9, 6, table := torch.zeros(9, 6))
    torch.testing.assert_close(Sinusoidal(9, 6)(torch.zeros(1, 3, 6), offset=2)[0], table[2:5])
    with pytest.raises(ValueError, match="width=7 must be even"):
        Sinusoidal(9, 7)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_relative_distances_fall_into_the_buckets_of_t5(bidirectional: bool) -> None:
    layer = RelativeBias(2, buckets=32, distance=128, bidirectional=bidirectional)
    ahead = torch.arange(-300, 301)
    theirs = T5Attention._relative_position_bucket(ahead, bidirectional, 32, 128)
    assert layer.bucket(ahead).tolist() == theirs.tolist()


def test_a_relative_bias_depends_on_the_distance_only() -> None:
    layer = RelativeBias(2, buckets=8, distance=20, bidirectional=True)
    bias = layer(5, 5)
    assert bias.shape == (2, 5, 5)
    torch.testing.assert_close(bias[:, 1:, 1:], bias[:, :-1, :-1])
    torch.testing.assert_close(layer(2, 5, offset=3), bias[:, 3:])


def test_norms_stand_before_a_part_or_behind_the_sum() -> None:
    norm, x, part = torch.nn.LayerNorm(4), torch.randn(2, 4), torch.nn.Linear(4, 4)
    pre, post = PreNormConnection(norm), PostNormConnection(norm)
    torch.testing.assert_close(pre.leave(x, part(pre.enter(x))), x + part(norm(x)))
    torch.testing.assert_close(post.leave(x, part(post.enter(x))), norm(x + part(x)))
