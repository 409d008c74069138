import torch
from torch import nn

from triad.layers.moe import MixtureOfExperts
from triad.layers.residual import Parallel, PostNorm, PreNorm
from triad.layers.routers.hash import Hash


class Past(nn.Linear):
    """A stand-in for attention that takes a cache."""

    def forward(self, x, cache=None):
        return super().forward(x)


def parts():
    torch.manual_seed(0)
    return nn.LayerNorm(8), Past(8, 8), nn.LayerNorm(8), nn.Linear(8, 8)


def test_each_block_is_its_equation():
    (n, a, m, f), x = parts(), torch.randn(2, 3, 8)
    nn.init.normal_(n.weight), nn.init.normal_(m.weight)
    y = x + a(n(x))
    torch.testing.assert_close(PreNorm(n, a, m, f)(x)[0], y + f(m(y)))
    y = n(x + a(x))
    torch.testing.assert_close(PostNorm(n, a, m, f)(x)[0], m(y + f(y)))
    torch.testing.assert_close(Parallel(n, a, m, f)(x)[0], x + a(n(x)) + f(m(x)))


def test_every_block_hands_tokens_to_experts_and_on_what_they_report():
    n, a, m, _ = parts()
    experts = MixtureOfExperts(8, 4, 2, 0, Hash, None)
    for weight in experts.parameters():
        nn.init.normal_(weight)
    tokens = torch.arange(6).view(2, 3)
    for block in (PreNorm, PostNorm, Parallel):
        y, routing = block(n, a, m, experts)(torch.randn(2, 3, 8), None, tokens)
        assert y.shape == (2, 3, 8)
        assert routing.load_BE.sum() == 6
        assert block(*parts())(torch.randn(2, 3, 8))[1] is None
