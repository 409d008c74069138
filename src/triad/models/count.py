"""How many parameters a model has, how many of them one token meets, and what that costs."""

from typing import NamedTuple

from torch import nn

from triad.layers.attention import Attention
from triad.layers.moe import MixtureOfExperts


class Count(NamedTuple):
    """All parameters, and those that work on each token: everything but the experts it is not sent to."""

    total: int
    active: int


def count(model: nn.Module) -> Count:
    """Count exactly; a weight used twice counts once. Works on the meta device and on sharded models."""
    total = sum(parameter.numel() for parameter in model.parameters())
    return Count(total, total - sum(map(_idle, model.modules())))


def flops_per_token(model: nn.Module, context: int) -> int:
    """Floating-point operations of one token's forward and backward pass.

        6 N + 12 L D T      Chowdhery et al. 2022, arXiv:2204.02311, appendix B

    N active parameters that multiply (a table that is only looked up does not), L D the widths of all
    attentions' heads.
    """
    lookups = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Embedding))
    products = count(model).active - lookups + (model.embedding.weight.numel() if model.head is None else 0)
    heads = sum(m.q.out_features for m in model.modules() if isinstance(m, Attention))
    return 6 * products + 12 * heads * context


def _idle(module: nn.Module) -> int:
    if not isinstance(module, MixtureOfExperts):
        return 0
    weights = list(module.experts.parameters())
    return sum(weight.numel() // weight.shape[0] * (weight.shape[0] - module.top_k) for weight in weights)
