"""One vector for a whole row, from those of its tokens. Shapes: B batch, T time, D width.

Each is called with hidden_BTD and real_BT, false at padding, and does not depend on the state of padding.
"""

import torch
from torch import Tensor


def last(hidden_BTD: Tensor, real_BT: Tensor) -> Tensor:
    """h_n, the state of the row's last token, which has seen all others in a causal model."""
    last_B = real_BT.sum(-1).sub(1).clamp_min(0)
    return hidden_BTD[torch.arange(len(hidden_BTD), device=hidden_BTD.device), last_B]


def first(hidden_BTD: Tensor, real_BT: Tensor) -> Tensor:
    """h_1, the state of the row's first token, which has seen all others in a bidirectional model."""
    return hidden_BTD[:, 0]


def mean(hidden_BTD: Tensor, real_BT: Tensor) -> Tensor:
    """(h_1 + ... + h_n) / n; of a row without tokens 0."""
    sum_BD = hidden_BTD.where(real_BT[..., None], 0).sum(1)
    return sum_BD / real_BT.sum(-1, keepdim=True).clamp_min(1)
