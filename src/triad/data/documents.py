"""Batches of labelled documents, each of neighbouring lengths.

B rows here, R rows of the batch, N documents, T tokens of the longest.
"""

from typing import Any

import numpy as np
import torch

from triad.data.packing import IGNORED
from triad.data.pairs import Pairs, pad_rows
from triad.data.shuffle import shuffle_rows
from triad.data.token_files import TokenFile


class DocumentFile:
    """The documents of a labelled token file as rows, without separators; `context` tokens at most are read.

    They are shuffled, always alike: files often come sorted by label, and some batches may be all that is
    validated.
    """

    called = "documents"

    def __init__(self, tokens: TokenFile, context: int, separator: int | None) -> None:
        firsts_N, ends_N = tokens.spans(np.arange(len(tokens.documents)))
        ends_N -= separator is not None
        order_N = shuffle_rows(np.arange(len(firsts_N)), len(firsts_N), seed=0)
        self.tokens, self.firsts_N, self.labels_N = tokens, firsts_N[order_N], tokens.labels[order_N]
        self.longest_N = np.minimum(ends_N - firsts_N, context)[order_N]

    def __len__(self) -> int:
        return len(self.firsts_N)

    def batch(self, rows_R: np.ndarray, rank: int, ranks: int) -> dict[str, Any]:
        """This rank's share of some documents, as wide as the longest of all; a row of -1 is none."""
        lengths_R = np.where(rows_R >= 0, self.longest_N[rows_R], 0)
        labels_R = np.where(rows_R >= 0, self.labels_N[rows_R], IGNORED).astype(np.int64)
        share = len(rows_R) // ranks
        mine = slice(rank * share, (rank + 1) * share)
        firsts_B, most = self.firsts_N[rows_R[mine]], int(lengths_R.max())
        return {
            "tokens_BT": torch.from_numpy(pad_rows(self.tokens.tokens, firsts_B, lengths_R[mine], most)),
            "labels_B": torch.from_numpy(labels_R[mine]),
            "rows": len(rows_R),
            "count": int(lengths_R.sum()),
            "lengths_R": torch.from_numpy(lengths_R),
        }


class Documents(Pairs):
    """Labelled documents for a Lightning trainer, dealt as pairs are."""

    rows_of = DocumentFile
