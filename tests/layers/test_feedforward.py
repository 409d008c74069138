from functools import partial

import pytest
import torch
from torch.nn.functional import linear
from transformers import LlamaConfig
from transformers.activations import ACT2FN
from transformers.models.llama.modeling_llama import LlamaMLP

from triad.layers.feedforward import GELU, ReLU, ReLUSquared, SwiGLU


def test_swiglu_is_llamas():
    config = LlamaConfig(hidden_size=8, intermediate_size=12, num_attention_heads=1)
    layer, llama, x = SwiGLU(8, 12, bias=False, dropout=0.0), LlamaMLP(config), torch.randn(2, 3, 8)
    llama.load_state_dict({f"{name[:-7]}_proj.weight": w for name, w in layer.state_dict().items()})
    torch.testing.assert_close(layer(x), llama(x))


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (partial(GELU, approximate="none"), "gelu_python"),
        (partial(GELU, approximate="tanh"), "gelu_new"),
        (ReLU, "relu"),
        (ReLUSquared, "relu2"),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_activations_are_those_of_transformers(made, name, bias):
    layer, x = made(8, 12, bias, 0.0).double(), torch.randn(2, 3, 8, dtype=torch.float64)
    hidden = ACT2FN[name](linear(x, layer.up.weight, layer.up.bias))
    torch.testing.assert_close(layer(x), linear(hidden, layer.down.weight, layer.down.bias))


def test_hidden_sizes_left_out_follow_the_width():
    assert SwiGLU(256, None, False, 0.0).up.out_features == 704
    assert GELU(256, None, False, 0.0, "tanh").up.out_features == 1024
    assert ReLU(256, None, False, 0.0).up.out_features == 1024
    assert ReLUSquared(256, None, False, 0.0).up.out_features == 1024
