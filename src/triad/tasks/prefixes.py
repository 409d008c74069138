"""Rows of a model of the past whose first tokens are given: a source, a prompt, a history.

Shapes: B rows, S source time, T target time, L = S + T.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from triad.layers.cross_entropy import IGNORED
from triad.layers.full_attention import PADDING

Piece = tuple[list[int], bool]  # tokens of a row, and whether they are to be predicted


def join(source_BS: Tensor, tokens_BT: Tensor, targets_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Sources, and directly behind each the tokens of its target: tokens_BL, targets_BL.

    Nothing of a source is a target.
    """
    length_B1 = (source_BS >= 0).sum(-1, keepdim=True)
    source_BL = F.pad(source_BS, (0, tokens_BT.shape[1]), value=PADDING)
    behind_BL = torch.arange(source_BL.shape[1], device=source_BS.device) - length_B1
    inside_BL = (behind_BL >= 0) & (behind_BL < tokens_BT.shape[1])
    index_BL = behind_BL.clamp(0, tokens_BT.shape[1] - 1)
    tokens_BL = tokens_BT.gather(1, index_BL).where(inside_BL, source_BL)
    return tokens_BL, targets_BT.gather(1, index_BL).where(inside_BL, IGNORED)


def make_row(pieces: list[Piece]) -> dict[str, list[int]]:
    """A row, tokens_BT and targets_BT, in which each token predicts the next where that is asked."""
    tokens = [token for ids, _ in pieces for token in ids]
    asked = [is_asked for ids, is_asked in pieces for _ in ids]
    targets = [token if is_asked else IGNORED for token, is_asked in zip(tokens, asked, strict=True)]
    return {"tokens_BT": tokens[:-1], "targets_BT": targets[1:]}


def find_last_targets(targets: list[int]) -> slice:
    """The places of the last targets that stand side by side; an empty slice of a row without any."""
    asked = [place for place, target in enumerate(targets) if target != IGNORED]
    if not asked:
        return slice(0, 0)
    first = asked[-1]
    while first > 0 and targets[first - 1] != IGNORED:
        first -= 1
    return slice(first, asked[-1] + 1)


def find_prompts(tokens_BT: Tensor, targets_BT: Tensor, end: int) -> list[list[int]]:
    """The tokens of each row up to the one that its last targets follow; of a row without targets `end`."""
    rows = zip(tokens_BT.tolist(), targets_BT.tolist(), strict=True)
    places = ((tokens, find_last_targets(targets)) for tokens, targets in rows)
    return [tokens[: place.start + 1] if place.stop else [end] for tokens, place in places]


def read_answers(targets_BT: Tensor) -> list[list[int]]:
    """The last targets of each row that stand side by side."""
    return [targets[find_last_targets(targets)] for targets in targets_BT.tolist()]
