"""Keys that contain the previous token's. Shapes: B batch, K key-value heads, S time, H head size."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triad.layers.ranges import PositiveInt, UnitInterval


class KeyShift(nn.Module):
    """Replace some channels of each key by those of the previous token's key.

        k'_s = (k_s over the first channels, k_{s-1} over the others),   k_{-1} = 0

    So a query can select a token by its predecessor: one layer can then copy what followed an earlier
    occurrence, which otherwise takes two (Olsson et al. 2022, arXiv:2209.11895, "smeared keys"; Fu et al.
    2023, arXiv:2212.14052, section 3.1, shift keys for this too). k_BKSH, all keys from the first on, rotated
    (and starts_BS of documents, before whose first token there is none, too) -> the same shape. `fraction` is
    the share of channels that are shifted: both of a rotated pair, and the pairs that turn slowest, so that
    scores depend on distances only.
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")

    def __init__(self, head_size: PositiveInt, fraction: UnitInterval):
        super().__init__()
        if not 0 <= fraction <= 1 or head_size % 2:
            raise ValueError(f"key_shift.fraction={fraction} head_size={head_size}: a part of an even number")
        self.kept = round((1 - fraction) * head_size / 2)

    def forward(self, k_BKSH: Tensor, starts_BS: Tensor | None = None) -> Tensor:
        # rotary positions pair channel j with j + H/2
        pairs = k_BKSH.unflatten(-1, (2, -1))
        here, before = pairs[..., : self.kept], pairs[..., self.kept :]
        before = F.pad(before[:, :, :-1], (0, 0, 0, 0, 1, 0))
        if starts_BS is not None:
            first_BS = starts_BS == torch.arange(starts_BS.shape[1], device=starts_BS.device)
            before = before.masked_fill(first_BS[:, None, :, None, None], 0.0)
        return torch.cat((here, before), -1).flatten(-2)
