"""Padding before the first token of a row, so that the last tokens of all rows stand in one column.

Shapes: B batch, T new tokens, S keys, D width.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from triad.layers.documents import DocumentMask


class LeftPadding:
    """The number of columns of padding before the first token of each row: count_B.

    A padded row is two documents (layers/documents.py), of which the first is padding: its tokens see none of
    the other, and are not seen. What layers ask alike in one step is computed once.
    """

    def __init__(self, count_B: Tensor):
        self.count_B = count_B
        self.known: dict[tuple, Tensor] = {}  # of this step

    def select(self, rows_R: Tensor) -> None:
        """Keep some rows, in a given order."""
        self.count_B, self.known = self.count_B[rows_R], {}

    def offset(self, past: int, new: int) -> Tensor:
        """What is added to the index of each of `new` tokens for its position, offset_BT; 0 at padding."""

        def compute() -> Tensor:
            index_T = torch.arange(new, device=self.count_B.device)
            return (index_T + past - self.count_B[:, None]).clamp_min(0) - index_T

        return self._recall(("offset", past, new), compute)

    def starts(self, total: int, keys: int) -> Tensor:
        """The first token of the document of each of the last `keys` of `total` tokens, starts_BS."""

        def compute() -> Tensor:
            start_B1 = (self.count_B - (total - keys)).clamp_min(0)[:, None]
            index_S = torch.arange(keys, device=self.count_B.device)
            return start_B1.where(index_S >= start_B1, 0)

        return self._recall(("starts", total, keys), compute)

    def hide(self, mask: Callable | None, total: int) -> Callable:
        """A mask that hides padding, too: see layers/mask.py."""

        def hidden(q_BNTH: Tensor, keys: int) -> Tensor:
            def compute() -> Tensor:
                return DocumentMask(mask, self.starts(total, keys))(q_BNTH, keys)

            if mask is not None:
                return compute()
            return self._recall(("mask", total, keys, q_BNTH.shape[2], q_BNTH.dtype), compute)

        return hidden

    def run(self, recurrent: nn.LSTM, x_BTD: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The output of an LSTM that starts from zeros at the first token of each row, and its last state."""
        time = x_BTD.shape[1]
        index_BT = (torch.arange(time, device=x_BTD.device) + self.count_B[:, None]) % time
        lengths_B = (time - self.count_B).cpu()
        first_BTD = x_BTD.gather(1, index_BT[..., None].expand_as(x_BTD))
        packed, state = recurrent(
            pack_padded_sequence(first_BTD, lengths_B, batch_first=True, enforce_sorted=False)
        )
        y_BTD, _ = pad_packed_sequence(packed, batch_first=True, total_length=time)
        return torch.zeros_like(y_BTD).scatter(1, index_BT[..., None].expand_as(y_BTD), y_BTD), state

    def visible(self, new: int, past: int) -> Tensor:
        """A mask_B1TS that hides padding from tokens, and tokens from padding."""
        starts_BS = self.starts(past + new, past + new)
        return (starts_BS[:, past:, None] == starts_BS[:, None])[:, None]

    def real(self, new: int) -> Tensor:
        """Which of the first `new` columns are tokens, real_BT."""
        return torch.arange(new, device=self.count_B.device) >= self.count_B[:, None]

    def _recall(self, key: tuple, compute: Callable[[], Tensor]) -> Tensor:
        if key not in self.known:
            if len(self.known) > 8:  # of earlier steps
                self.known.clear()
            self.known[key] = compute()
        return self.known[key]
