"""Blocks: how attention and feed-forward are connected to the residual stream.

Each class is built from two norms and two parts, and maps x_BTD (and the cache of earlier tokens, tokens_BT
for a router, and for attention starts_BT where rows have several documents) to x_BTD and the Routing of a
layer of experts, else None. Shapes: B batch, T time, D width.
"""

from typing import Any

from torch import Tensor, nn

from triad.layers.attention import KeyValueCache


class PreNorm(nn.Module):
    """Each part reads a normalised copy of the residual stream and adds to it.

    x += attention(norm(x)),   x += feedforward(norm(x))
    Xiong et al. 2020, arXiv:2002.04745, figure 1b; Radford et al. 2019 (GPT-2), section 2.3
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")
    normalised = False  # its output; the model adds a norm after the last block

    def __init__(
        self,
        attention_norm: nn.Module,
        attention: nn.Module,
        feedforward_norm: nn.Module,
        feedforward: nn.Module,
    ):
        super().__init__()
        self.attention_norm, self.attention = attention_norm, attention
        self.feedforward_norm, self.feedforward = feedforward_norm, feedforward

    def forward(
        self,
        x_BTD: Tensor,
        cache: KeyValueCache | None = None,
        tokens_BT: Tensor | None = None,
        *starts_BT: Tensor,
    ) -> tuple[Tensor, Any]:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), cache, *starts_BT)
        y_BTD, routing = apply_feedforward(self.feedforward, self.feedforward_norm(x_BTD), tokens_BT)
        return x_BTD + y_BTD, routing


class PostNorm(nn.Module):
    """The sum of the residual stream and each part is normalised.

    x = norm(x + attention(x)),   x = norm(x + feedforward(x))
    Vaswani et al. 2017, arXiv:1706.03762, section 3.1; Radford et al. 2018 (GPT-1)
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")
    normalised = True

    def __init__(
        self,
        attention_norm: nn.Module,
        attention: nn.Module,
        feedforward_norm: nn.Module,
        feedforward: nn.Module,
    ):
        super().__init__()
        self.attention_norm, self.attention = attention_norm, attention
        self.feedforward_norm, self.feedforward = feedforward_norm, feedforward

    def forward(
        self,
        x_BTD: Tensor,
        cache: KeyValueCache | None = None,
        tokens_BT: Tensor | None = None,
        *starts_BT: Tensor,
    ) -> tuple[Tensor, Any]:
        x_BTD = self.attention_norm(x_BTD + self.attention(x_BTD, cache, *starts_BT))
        y_BTD, routing = apply_feedforward(self.feedforward, x_BTD, tokens_BT)
        return self.feedforward_norm(x_BTD + y_BTD), routing


class Parallel(nn.Module):
    """Attention and feed-forward read the same stream, each through its own norm, and are added to it.

    x += attention(norm_1(x)) + feedforward(norm_2(x))      Black et al. 2022, arXiv:2204.06745, section 2.1
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")
    normalised = False

    def __init__(
        self,
        attention_norm: nn.Module,
        attention: nn.Module,
        feedforward_norm: nn.Module,
        feedforward: nn.Module,
    ):
        super().__init__()
        self.attention_norm, self.attention = attention_norm, attention
        self.feedforward_norm, self.feedforward = feedforward_norm, feedforward

    def forward(
        self,
        x_BTD: Tensor,
        cache: KeyValueCache | None = None,
        tokens_BT: Tensor | None = None,
        *starts_BT: Tensor,
    ) -> tuple[Tensor, Any]:
        y_BTD, routing = apply_feedforward(self.feedforward, self.feedforward_norm(x_BTD), tokens_BT)
        return x_BTD + self.attention(self.attention_norm(x_BTD), cache, *starts_BT) + y_BTD, routing


def apply_feedforward(feedforward: nn.Module, x_BTD: Tensor, tokens_BT: Tensor | None) -> tuple[Tensor, Any]:
    """The feed-forward part's output and its Routing, or None; only layers with a router get the tokens."""
    y = feedforward(x_BTD, tokens_BT) if hasattr(feedforward, "router") else feedforward(x_BTD)
    return y if isinstance(y, tuple) else (y, None)
