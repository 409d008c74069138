import pytest

from triad.layers.initial import fan_in, glorot, normal, plain_normal, t5


def test_gpt2_makes_residual_outputs_smaller():
    assert normal("matrix", "blocks.0.attention.q.weight", (8, 8), 8, 0.02) == 0.02
    assert normal("embedding", "embedding.weight", (8, 8), 8, 0.02) == 0.02
    for name in ("attention.out.weight", "feedforward.down.weight", "feedforward.experts.down_EFD"):
        assert normal("matrix", f"blocks.0.{name}", (8, 8), 8, 0.02) == 0.005


@pytest.mark.parametrize(
    ("role", "name", "shape", "std"),
    [
        ("matrix", "q.weight", (8, 16), 0.25),
        ("expert", "experts.up_EDF", (2, 16, 8), 0.25),
        ("matrix", "attention.out.weight", (8, 16), 0.0),
        ("expert", "experts.down_EFD", (2, 16, 8), 0.0),
        ("embedding", "embedding.weight", (8, 16), 0.7),
        ("head", "head.weight", (8, 16), 0.0),
    ],
)
def test_fan_in_keeps_sizes_and_starts_outputs_at_zero(role, name, shape, std):
    assert fan_in(role, name, shape, 8, embedding=0.7, head="zero") == std


def test_bert_starts_all_weights_alike():
    for name in ("embedding.weight", "attention.out.weight"):
        assert plain_normal("matrix", name, (8, 8), 8, 0.02) == 0.02


def test_glorot_weighs_both_sides_and_embeddings_are_scaled_where_they_are_read():
    assert glorot("matrix", "q.weight", (24, 8), 2) == 0.25
    assert glorot("embedding", "embedding.weight", (99, 16), 2) == 0.25


def test_t5_starts_queries_smaller_instead_of_scaling_attention():
    assert t5("matrix", "attention.k.weight", (8, 16), 2, head_size=4) == 0.25
    assert t5("matrix", "attention.q.weight", (8, 16), 2, head_size=4) == 0.125
    assert t5("embedding", "embedding.weight", (99, 16), 2, head_size=4) == 1.0
    assert t5("embedding", "encoder.relative.weight", (32, 4), 2, head_size=4) == 0.25
