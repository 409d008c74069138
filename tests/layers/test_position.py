import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from triad.layers.position import (
    Learned,
    LearnedBehindPadding,
    Llama3Rotary,
    Normalised,
    PartialRotary,
    Rotary,
)


def naive(x, offset, base):
    """Complex numbers x_j + i x_{j+H/2}, turned by m base^(-2j/H)."""
    half = x.shape[-1] // 2
    theta = base ** (-2 * torch.arange(half, dtype=torch.float64) / x.shape[-1])
    angle = torch.arange(offset, offset + x.shape[-2], dtype=torch.float64)[:, None] * theta
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([turned.real, turned.imag], -1)


def llama(q, k, offset, **how):
    """Transformers' rotation of queries and keys, whose angles are in fp32."""
    size = {"hidden_size": q.shape[-1], "num_attention_heads": 1, "rope_parameters": how}
    angles = LlamaRotaryEmbedding(LlamaConfig(**size, max_position_embeddings=4096))
    cos, sin = angles(q, torch.arange(offset, offset + q.shape[-2])[None])
    return apply_rotary_pos_emb(q, k, cos, sin)


@pytest.mark.parametrize("offset", [0, 5])
def test_rotary_is_llamas(offset):
    q, k = torch.randn(2, 3, 4, 7, 8)
    expected = llama(q, k, offset, rope_type="default", rope_theta=100.0)
    torch.testing.assert_close(Rotary(8, 100.0)(q, k, offset), expected)


@pytest.mark.parametrize("offset", [0, 900])
def test_llama_3_turns_as_transformers_does(offset):
    factors = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    factors |= {"rope_type": "llama3", "rope_theta": 1e4, "original_max_position_embeddings": 512}
    q, k = torch.randn(2, 1, 2, 100, 64)
    found = Llama3Rotary(64, 1e4, 8.0, 1.0, 4.0, 512)(q, k, offset)
    torch.testing.assert_close(found, llama(q, k, offset, **factors), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("offset", [0, 5])
def test_rotary_is_the_equation(offset):
    q, k = torch.randn(2, 3, 4, 7, 8, dtype=torch.float64)
    for got, x in zip(Rotary(8, 100.0)(q, k, offset), (q, k), strict=True):
        torch.testing.assert_close(got, naive(x, offset, 100.0))


def test_rotary_gradients_are_right_and_its_result_contiguous():
    q = torch.randn(1, 5, 2, 4, dtype=torch.float64).transpose(1, 2).requires_grad_()
    rotary = Rotary(4, 10.0)
    assert rotary(q, q, 3)[0].is_contiguous()
    assert torch.autograd.gradcheck(lambda x: rotary(x, x, 3)[0], q)


def test_rotary_products_depend_on_distance_only():
    q, k = torch.randn(2, 1, 1, 1, 16)
    rotary = Rotary(16, 10000.0)
    near, far = ((rotary(q, q, t)[0] * rotary(k, k, t + 3)[0]).sum() for t in (0, 50))
    torch.testing.assert_close(near, far)


def test_rotary_in_bfloat16_errs_at_most_three_times_llama():
    x = torch.randn(2, 4, 512, 64, dtype=torch.float64)
    exact, low = naive(x, 0, 10000.0), x.bfloat16()
    theirs = llama(low, low, 0, rope_type="default", rope_theta=1e4)[0]
    assert (Rotary(64, 10000.0)(low, low)[0] - exact).norm() <= 3 * (theirs - exact).norm()


def test_an_odd_head_is_refused():
    with pytest.raises(ValueError, match="head_size=7"):
        Rotary(7, 10000.0)


def test_learned_positions_start_where_the_cache_ends():
    learned, x = Learned(10, 4), torch.randn(2, 3, 4)
    torch.testing.assert_close(learned(x, 5), x + learned.weight[5:8])


def test_a_part_of_each_head_is_rotated_and_the_rest_is_left():
    q, k = torch.randn(2, 3, 4, 7, 16, dtype=torch.float64)
    for got, x in zip(PartialRotary(16, 100.0, 0.25)(q, k, 5), (q, k), strict=True):
        torch.testing.assert_close(got, torch.cat([naive(x[..., :4], 5, 100.0), x[..., 4:]], -1))


def test_llama_3_slows_what_turns_slowly_and_leaves_what_turns_fast():
    rotary, plain = Llama3Rotary(64, 1e4, 8.0, 1.0, 4.0, 512), Rotary(64, 1e4)
    index = torch.arange(32, dtype=torch.float64)
    ratio = rotary.rotary.frequencies(index) / plain.frequencies(index)
    turns = 512 * plain.frequencies(index) / (2 * torch.pi)
    torch.testing.assert_close(ratio[turns > 4], torch.ones_like(ratio[turns > 4]))
    torch.testing.assert_close(ratio[turns < 1], torch.full_like(ratio[turns < 1], 1 / 8))
    between = (turns > 1) & (turns < 4)
    assert between.any()
    assert (ratio[between] > 1 / 8).all()
    assert (ratio[between] < 1).all()


def test_reserved_rows_of_learned_positions_are_never_looked_up():
    learned, x = LearnedBehindPadding(10, 4, 2), torch.randn(2, 3, 4)
    torch.testing.assert_close(learned(x, 5), x + learned.weight[7:10])
    assert learned(torch.zeros(1, 10, 4)).shape == (1, 10, 4)


def test_a_norm_in_the_place_of_positions_does_not_know_where_it_is():
    normalised, x = Normalised(10, 4, 1e-5), torch.randn(2, 3, 4)
    torch.testing.assert_close(normalised(x, 5), torch.nn.functional.layer_norm(x, (4,)))
