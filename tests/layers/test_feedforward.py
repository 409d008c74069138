import pytest
import torch

from triad.layers.feedforward import GELU, ReLU, ReLUSquared, SwiGLU


def test_swiglu_is_the_equation():
    layer, x = SwiGLU(8, 12, bias=False, dropout=0.0).double(), torch.randn(2, 3, 8, dtype=torch.float64)
    gate, up = x @ layer.gate.weight.mT, x @ layer.up.weight.mT
    torch.testing.assert_close(layer(x), (gate / (1 + (-gate).exp()) * up) @ layer.down.weight.mT)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_is_the_equation(approximate):
    layer, x = GELU(8, 12, True, 0.0, approximate).double(), torch.randn(2, 3, 8, dtype=torch.float64)
    u = x @ layer.up.weight.mT + layer.up.bias
    inner = (2 / torch.pi) ** 0.5 * (u + 0.044715 * u**3)
    cumulative = (1 + inner.tanh()) / 2 if approximate == "tanh" else (1 + (u / 2**0.5).erf()) / 2
    torch.testing.assert_close(layer(x), (u * cumulative) @ layer.down.weight.mT + layer.down.bias)


def test_relu_squared_is_the_equation():
    layer, x = ReLUSquared(8, 12, False, 0.0), torch.randn(2, 3, 8)
    torch.testing.assert_close(layer(x), (x @ layer.up.weight.mT).clamp(min=0) ** 2 @ layer.down.weight.mT)


def test_relu_is_the_equation():
    layer, x = ReLU(8, 12, True, 0.0), torch.randn(2, 3, 8)
    hidden = (x @ layer.up.weight.mT + layer.up.bias).clamp(min=0)
    torch.testing.assert_close(layer(x), hidden @ layer.down.weight.mT + layer.down.bias)


def test_hidden_sizes_left_out_follow_the_width():
    assert SwiGLU(256, None, False, 0.0).up.out_features == 704
    assert GELU(256, None, False, 0.0, "tanh").up.out_features == 1024
    assert ReLU(256, None, False, 0.0).up.out_features == 1024
    assert ReLUSquared(256, None, False, 0.0).up.out_features == 1024
