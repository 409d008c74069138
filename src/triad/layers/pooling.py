"""One vector for a whole row, of those of its tokens. Shapes: B batch, T time, D width.

Each is called with hidden_BTD and real_BT, false where a row has ended, and sees no other hidden state.
"""

import torch
from torch import Tensor


def last(hidden_BTD: Tensor, real_BT: Tensor) -> Tensor:
    """h_n, the state of the row's last token: it has seen all the others where a model reads forward."""
    last_B = real_BT.sum(-1).sub(1).clamp_min(0)
    return hidden_BTD[torch.arange(len(hidden_BTD), device=hidden_BTD.device), last_B]


def first(hidden_BTD: Tensor, real_BT: Tensor) -> Tensor:
    """h_1, the state of the row's first token: it has seen all the others where a model reads both ways."""
    return hidden_BTD[:, 0]


def mean(hidden_BTD: Tensor, real_BT: Tensor) -> Tensor:
    """(h_1 + ... + h_n) / n; of a row without tokens 0."""
    sum_BD = torch.einsum("btd,bt->bd", hidden_BTD, real_BT.to(hidden_BTD.dtype))
    return sum_BD / real_BT.sum(-1, keepdim=True).clamp_min(1)
