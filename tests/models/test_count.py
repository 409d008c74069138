"""What a model costs is the sum of what its layers say, whichever classes they are of."""

import torch
from torch import nn

from triad.models.count import count


class Retention(nn.Module):
    """A layer that looks at tokens before, made nowhere in the source."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q = nn.Linear(width, width, bias=False)

    def flops_per_token(self, context: int) -> int:
        return 100 * context


class Scan(Retention):
    """A layer with a state: each token costs the same."""

    def flops_per_token(self, context: int) -> int:
        return 7000


def model(*layers: nn.Module) -> nn.Module:
    made = nn.Module()
    made.embedding, made.layers = nn.Embedding(11, 8), nn.Sequential(*layers)
    made.head = nn.Linear(8, 11, bias=False)
    return made


def test_attention_of_another_class_and_a_state_are_counted() -> None:
    with torch.device("meta"):
        found = count(model(Retention(8), Scan(8), nn.LayerNorm(8)))
    weights = 2 * 64 + 16 + 88
    assert found[:3] == (weights + 88, weights + 88, weights)
    assert found.flops_per_token(10) == 6 * weights + 1000 + 7000
    assert found.flops_per_token(20) == 6 * weights + 2000 + 7000
