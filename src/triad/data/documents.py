"""Batches of documents, each of neighbouring lengths: with labels, or to be continued.

B rows here, R rows of the batch, T tokens of the longest.
"""

from typing import Any

import numpy as np
import torch

from triad.data.packing import IGNORED, NOTHING, DocumentRows
from triad.data.pairs import name_order, pad_rows
from triad.data.shuffle import shuffle_rows
from triad.data.token_files import TokenFile


class DocumentFile:
    """The documents of a labelled token file as rows, without separators; `context` tokens at most are read.

    They are shuffled, always alike: files often come sorted by label, and some batches may be all that is
    validated.
    """

    called = "documents"

    def __init__(self, tokens: TokenFile, context: int, separator: int | None) -> None:
        self.tokens, self.context, self.separators = tokens, context, int(separator is not None)
        self.folder = name_order(tokens, "labelled", context)

    def __len__(self) -> int:
        return len(self.tokens.documents)

    def find_lengths(self, rows_R: np.ndarray) -> np.ndarray:
        return self._find(rows_R)[2]

    def _find(self, rows_R: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The document of each row, its first token and its length; of a row of -1 the length is 0."""
        document_R = shuffle_rows(np.maximum(rows_R, 0), len(self), seed=0)
        first_R, end_R = self.tokens.spans(document_R)
        length_R = np.minimum(end_R - self.separators - first_R, self.context)
        return document_R, first_R, np.where(rows_R == NOTHING, 0, length_R)

    def batch(self, rows_R: np.ndarray, rank: int, ranks: int) -> dict[str, Any]:
        """This rank's share of some documents, as wide as the longest of all; a row of -1 is none."""
        document_R, first_R, length_R = self._find(rows_R)
        real_R = rows_R != NOTHING
        label_R = np.where(real_R, self.tokens.labels[document_R], IGNORED).astype(np.int64)
        share = len(rows_R) // ranks
        mine = slice(rank * share, (rank + 1) * share)
        tokens_BT = pad_rows(self.tokens.tokens, first_R[mine], length_R[mine], length_R.max())
        return {
            "tokens_BT": torch.from_numpy(tokens_BT),
            "labels_B": torch.from_numpy(label_R[mine]),
            "rows": int(real_R.sum()),
            "count": int(length_R.sum()),
            "lengths_R": torch.from_numpy(length_R),
        }


class ContinuedFile:
    """The documents of a text as rows, of which each token predicts the next; at most `context` do."""

    called = "documents"

    def __init__(self, tokens: TokenFile, context: int, separator: int | None) -> None:
        self.documents, self.folder = DocumentRows(tokens, context), name_order(tokens, "text", context)

    def __len__(self) -> int:
        return len(self.documents)

    def find_lengths(self, rows_R: np.ndarray) -> np.ndarray:
        return self.documents.measure(rows_R)["lengths_R"].numpy()

    def batch(self, rows_R: np.ndarray, rank: int, ranks: int) -> dict[str, Any]:
        """This rank's share of some documents, as wide as the longest of all; a row of -1 is none."""
        measured, share = self.documents.measure(rows_R), len(rows_R) // ranks
        width = max(int(measured["lengths_R"].max()), 1)
        sides = self.documents.read(rows_R[rank * share : (rank + 1) * share])
        read = {name: ids_BT[:, :width] for name, ids_BT in sides.items()}
        return read | measured | {"rows": int((rows_R != NOTHING).sum())}
