"""Rules that make sources and targets from the rows of a batch. Shapes: B rows, T time.

A row ends where padding (below 0) begins.
"""

import torch
from torch import Tensor

from triad.layers.cross_entropy import IGNORED
from triad.layers.full_attention import PADDING


def copy(batch: dict) -> tuple[Tensor, Tensor]:
    """The source itself."""
    source_BT = _rows(batch)
    return source_BT, source_BT


def reverse(batch: dict) -> tuple[Tensor, Tensor]:
    """The source in reverse order."""
    source_BT = _rows(batch)
    from_end_BT = (source_BT >= 0).sum(-1, keepdim=True) - 1 - torch.arange(source_BT.shape[1]).to(source_BT)
    target_BT = source_BT.gather(1, from_end_BT.clamp_min(0))
    return source_BT, target_BT.where(from_end_BT >= 0, PADDING)


def sort(batch: dict) -> tuple[Tensor, Tensor]:
    """The words of the source in ascending order."""
    source_BT = _rows(batch)
    last = torch.iinfo(source_BT.dtype).max
    sorted_BT = source_BT.where(source_BT >= 0, last).sort(-1).values
    return source_BT, sorted_BT.where(sorted_BT < last, PADDING)


def given(batch: dict) -> tuple[Tensor, Tensor]:
    """The pairs of the data."""
    return batch["source_BS"], batch["target_BU"]


def _rows(batch: dict) -> Tensor:
    """The tokens of the rows without the last one, which leaves room for the target's end token."""
    return batch["tokens_BT"].where(batch["targets_BT"] != IGNORED, PADDING)[:, :-1]


copy.needs = {"data.yields": ("text",)}
reverse.needs = {"data.yields": ("text",)}
sort.needs = {"data.yields": ("text",)}
given.needs = {"data.yields": ("pairs",)}
