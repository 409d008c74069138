import pytest
import torch
from torch.nn.functional import rms_norm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.olmoe.modeling_olmoe import OlmoeRMSNorm

from triad.layers.norm import AllHeadsRMSNorm, RMSNorm


def norm(width, dtype=torch.float32):
    layer = RMSNorm(width, eps=1e-5).to(dtype)
    torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
    return layer


def test_rms_norm_is_torchs_and_llamas_and_its_gradients_are_right():
    layer, x = norm(16, torch.float64), torch.randn(3, 5, 16, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(layer(x), rms_norm(x, (16,), layer.weight, 1e-5))
    llama = LlamaRMSNorm(16, 1e-5)  # it computes in fp32
    llama.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer.float()(x.float()), llama(x.float()))
    layer.double()
    assert torch.autograd.gradcheck(lambda x, _: layer(x), (x, layer.weight))


@pytest.mark.parametrize("shape", [(4, 32, 64), (4, 32, 2, 16)])
def test_rms_norm_in_bfloat16_errs_at_most_three_times_torch(shape):
    layer = norm(shape[-1])
    x, grad = torch.randn(2, *shape).bfloat16()
    x.requires_grad_()

    def run(function, dtype):
        y = function(x.to(dtype), layer.weight.to(dtype))
        return y, *torch.autograd.grad(y, (x, layer.weight), grad.to(dtype))

    reference, exact = (
        run(lambda x, w: rms_norm(x, x.shape[-1:], w, 1e-5), dtype)
        for dtype in (torch.bfloat16, torch.float64)
    )
    for ours, theirs, truth in zip(run(lambda x, _: layer(x), torch.bfloat16), reference, exact, strict=True):
        assert (ours.double() - truth).norm() <= 3 * (theirs.double() - truth).norm() + 1e-2 * truth.norm()


def test_rms_norm_works_on_the_meta_device():
    assert norm(8).to("meta")(torch.empty(2, 8, device="meta")).shape == (2, 8)


def test_one_norm_for_all_heads_sees_them_as_one_vector():
    layer, olmoe, x = AllHeadsRMSNorm(4, 3, 1e-5), OlmoeRMSNorm(12, 1e-5), torch.randn(2, 5, 3, 4)
    torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
    olmoe.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x), olmoe(x.flatten(-2)).view_as(x))
