import pytest
import torch

from triad.layers.norm import AllHeadsRMSNorm, RMSNorm


def naive(x, gain, eps):
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * gain


def norm(width, dtype=torch.float32):
    layer = RMSNorm(width, eps=1e-5).to(dtype)
    torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
    return layer


def test_rms_norm_is_the_equation_and_so_are_its_gradients():
    layer, x = norm(16, torch.float64), torch.randn(3, 5, 16, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(layer(x), naive(x, layer.weight, 1e-5))
    assert torch.autograd.gradcheck(lambda x, _: layer(x), (x, layer.weight))


@pytest.mark.parametrize("shape", [(4, 32, 64), (4, 32, 2, 16)])
def test_rms_norm_in_bfloat16_errs_at_most_three_times_torch(shape):
    layer = norm(shape[-1])
    x, grad = torch.randn(2, *shape).bfloat16()
    x.requires_grad_()

    def run(function, dtype):
        y = function(x.to(dtype), layer.weight.to(dtype))
        return y, *torch.autograd.grad(y, (x, layer.weight), grad.to(dtype))

    reference = run(lambda x, w: torch.nn.functional.rms_norm(x, x.shape[-1:], w, 1e-5), torch.bfloat16)
    exact = run(lambda x, w: naive(x, w, 1e-5), torch.float64)
    for ours, theirs, truth in zip(run(lambda x, _: layer(x), torch.bfloat16), reference, exact, strict=True):
        assert (ours.double() - truth).norm() <= 3 * (theirs.double() - truth).norm() + 1e-2 * truth.norm()


def test_rms_norm_works_on_the_meta_device():
    assert norm(8).to("meta")(torch.empty(2, 8, device="meta")).shape == (2, 8)


def test_one_norm_for_all_heads_sees_them_as_one_vector():
    layer, x = AllHeadsRMSNorm(4, 3, 1e-5).double(), torch.randn(2, 5, 3, 4, dtype=torch.float64)
    torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
    torch.testing.assert_close(layer(x), naive(x.flatten(-2), layer.weight, 1e-5).view_as(x))
