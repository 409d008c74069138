import pytest

from triad.layers.initialisation import fan_in, glorot, normal, plain_normal, t5


def test_gpt2_makes_residual_outputs_smaller():
    assert normal("matrix", "query", (8, 8), 8, 0.02, None) == 0.02
    assert normal("embedding", "inner", (8, 8), 8, 0.02, None) == 0.02
    assert normal("matrix", "residual", (8, 8), 8, 0.02, None) == 0.005
    assert normal("expert", "residual", (8, 8, 8), 8, 0.02, None) == 0.005


@pytest.mark.parametrize(
    ("role", "part", "shape", "std"),
    [
        ("matrix", "query", (8, 16), 0.25),
        ("expert", "inner", (2, 16, 8), 0.25),
        ("convolution", "inner", (8, 4, 4), 0.25),
        ("matrix", "residual", (8, 16), 0.0),
        ("expert", "residual", (2, 16, 8), 0.0),
        ("embedding", "inner", (8, 16), 0.7),
        ("head", "inner", (8, 16), 0.0),
    ],
)
def test_fan_in_keeps_sizes_and_starts_outputs_at_zero(role, part, shape, std):
    assert fan_in(role, part, shape, 8, embedding=0.7, head="zero") == std


def test_bert_starts_all_weights_alike():
    for part in ("inner", "residual"):
        assert plain_normal("matrix", part, (8, 8), 8, 0.02) == 0.02


def test_glorot_weighs_both_sides_and_embeddings_are_scaled_where_they_are_read():
    assert glorot("matrix", "query", (24, 8), 2, None) == 0.25
    assert glorot("embedding", "inner", (99, 16), 2, None) == 0.25


def test_t5_starts_queries_smaller_instead_of_scaling_attention():
    assert t5("matrix", "inner", (8, 16), 2, head_size=4) == 0.25
    assert t5("matrix", "query", (8, 16), 2, head_size=4) == 0.125
    assert t5("embedding", "inner", (99, 16), 2, head_size=4) == 1.0
    assert t5("embedding", "relative", (32, 4), 2, head_size=4) == 0.25
