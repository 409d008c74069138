"""Rules that make sources and targets: of the tokens of a text, or of the texts of an example.

Of tokens, copy, reverse and sort: a function of a batch's tokens_BT and targets_BT; B rows, T time, and a row
ends where padding (below 0) begins. Of texts: a function of an example that gives Sides.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from triad.layers.cross_entropy import IGNORED
from triad.layers.full_attention import PADDING


class Sides(NamedTuple):
    """The texts of an example.

    Of several texts of a source the most important is the first: one that does not fit is cut at its end.
    """

    source: list[str]
    target: str
    references: list[str]


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


def given(example: dict) -> Sides:
    """The pairs of the data."""
    target = example["target"]
    return Sides([example["source"]], target, example.get("references") or [target])


def post_edit(example: dict) -> Sides:
    """The text that a draft of it, such as a machine's translation of the source, is to become.

    Source and draft in one sequence: Correia and Martins 2019, arXiv:1906.06253, section 2
    """
    return Sides([example["source"], example["draft"]], example["target"], [example["target"]])


def _rows(batch: dict) -> Tensor:
    """The tokens of the rows without the last one, which leaves room for the target's end token."""
    return batch["tokens_BT"].where(batch["targets_BT"] != IGNORED, PADDING)[:, :-1]


copy.needs = {"data.yields": ("text",)}
reverse.needs = {"data.yields": ("text",)}
sort.needs = {"data.yields": ("text",)}
given.needs = {"data.yields": ("pairs",)}
post_edit.needs = {"data.yields": ("drafts",)}
post_edit.dividers = 1  # words that stand between the texts of a source
