"""The residual connection around one part of a block (a sub-layer).

Shapes: B batch, T time, D width.
"""

from torch import Tensor, nn


class PreNormConnection(nn.Module):
    """The part reads the normalised stream; its output is added to the stream.

        x + f(norm(x))      Xiong et al. 2020, arXiv:2002.04745, figure 1b

    leave(x_BTD, f(enter(x_BTD))) -> x_BTD.
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")

    def __init__(self, norm: nn.Module):
        super().__init__()
        self.norm = norm

    def enter(self, x_BTD: Tensor) -> Tensor:
        """What the part reads."""
        return self.norm(x_BTD)

    def leave(self, x_BTD: Tensor, y_BTD: Tensor) -> Tensor:
        """The stream with the part's answer."""
        return x_BTD + y_BTD


class PostNormConnection(nn.Module):
    """The part reads the stream; the stream is normalised after its output has been added.

        norm(x + f(x))      Vaswani et al. 2017, arXiv:1706.03762, section 3.1

    leave(x_BTD, f(enter(x_BTD))) -> x_BTD.
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")

    def __init__(self, norm: nn.Module):
        super().__init__()
        self.norm = norm

    def enter(self, x_BTD: Tensor) -> Tensor:
        """What the part reads."""
        return x_BTD

    def leave(self, x_BTD: Tensor, y_BTD: Tensor) -> Tensor:
        """The stream with the part's answer."""
        return self.norm(x_BTD + y_BTD)
