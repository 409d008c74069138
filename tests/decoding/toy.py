"""A model that is a table, and ways of decoding with their usual numbers."""

from typing import Any

import torch
from torch import Tensor, nn

from triad.config.build import build
from triad.config.offers import read_choices


def sampling(**changes: Any) -> Any:
    """conf/decoding/sampling.yaml with some keys changed."""
    return build(read_choices("decoding")["sampling"] | changes)


def beam(beams: int, **changes: Any) -> Any:
    """conf/decoding/beam.yaml with some keys changed."""
    return build(read_choices("decoding")["beam"] | {"beams": beams} | changes)


class Table(nn.Module):
    """The next token depends on the last one only: rows of probabilities in 32nds. Token 0 ends a text."""

    def __init__(self, rows: list[list[int]]):
        super().__init__()
        chances = torch.tensor(rows, dtype=torch.float64) / 32
        self.logits = nn.Parameter(chances.log(), requires_grad=False)

    def empty_cache(self, batch: int) -> "Nothing":
        return Nothing()

    def forward(self, tokens_BT: Tensor, cache: "Nothing") -> tuple[Tensor, tuple]:
        return self.logits[tokens_BT], ()


class Nothing:
    """The cache of a model that remembers nothing."""

    def select(self, *_: Any) -> None:
        """There are no rows."""

    overwrite = select
