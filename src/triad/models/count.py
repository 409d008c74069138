"""How many parameters a model has, how many of them one token meets, and what that costs."""

from typing import NamedTuple

from torch import nn

from triad.layers.attention import Attention
from triad.layers.latent_attention import LatentAttention
from triad.layers.moe import MixtureOfExperts


class Count(NamedTuple):
    """All parameters, and those that work on each token: everything but the experts it is not sent to.

    `multiplying` are the active ones that multiply (a table that is only looked up does not), `attending` the
    widths of all attentions' heads (of latent attention the mean of those of keys and values).
    """

    total: int
    active: int
    multiplying: int
    attending: int

    def flops_per_token(self, context: int) -> int:
        """Floating-point operations of one token's forward and backward pass.

        6 N + 12 L D T      Chowdhery et al. 2022, arXiv:2204.02311, appendix B
        """
        return 6 * self.multiplying + 12 * self.attending * context


def count(model: nn.Module) -> Count:
    """Count exactly; a weight used twice counts once. Works on the meta device; ask before it is cut up."""
    total = sum(parameter.numel() for parameter in model.parameters())
    active = total - sum(map(_idle, model.modules()))
    lookups = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Embedding))
    tied = model.embedding.weight.numel() if model.head is None else 0
    heads = sum(m.attending for m in model.modules() if isinstance(m, Attention | LatentAttention))
    return Count(total, active, active - lookups + tied, heads)


def _idle(module: nn.Module) -> int:
    if not isinstance(module, MixtureOfExperts):
        return 0
    weights, active = list(module.experts.parameters()), module.router.top_k
    return sum(round(weight.numel() // weight.shape[0] * (weight.shape[0] - active)) for weight in weights)
