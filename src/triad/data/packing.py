"""What the rows of a text are: windows, windows whose documents do not see each other, or documents.

R rows of a batch, B of them on this rank, T context, D pieces: what the rows hold of documents.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from triad.data.shuffle import count_windows, find_starts, shuffle_rows
from triad.data.token_files import TokenFile

IGNORED = -100  # the target that cross entropy leaves out
NOTHING = -1  # in the place of a token, where a row has ended; as a place, no row


class RowReader(Protocol):
    """The rows that one split is read in. A place says what a row reads; NOTHING reads no token."""

    def __len__(self) -> int:
        """Rows of an epoch of training."""
        ...

    def locate(self, rows_R: np.ndarray, seed: int) -> np.ndarray:
        """The places of some rows of the infinite order of training."""
        ...

    def list_places(self) -> np.ndarray:
        """The places of all rows of validation, in the order of the text."""
        ...

    def find_firsts(self, places_R: np.ndarray) -> np.ndarray:
        """The position of each row's first token in the token file."""
        ...

    def measure(self, places_R: np.ndarray) -> dict[str, Any]:
        """`count` of targets, and lengths_R, the targets of each row.

        Where documents do not see each other also document_lengths_D, the tokens of each piece.
        """
        ...

    def read(self, places_B: np.ndarray) -> dict[str, torch.Tensor]:
        """tokens_BT and targets_BT; behind a row's end they are NOTHING and IGNORED.

        Where documents do not see each other also starts_BT: for each token the index in its row of the first
        token of its piece; of padding its own index.
        """
        ...


def pack(tokens: TokenFile, context: int, packing: str, anew: bool = True) -> RowReader:
    """The rows of at most `context` tokens that a split is read in, shuffled `anew` in each epoch."""
    match packing:
        case "windows":
            return WindowRows(tokens, context, anew)
        case "documents":
            return SeparatedRows(tokens, context, anew)
        case "none":
            return DocumentRows(tokens, context, anew)
    raise ValueError(f"packing={packing} is not built yet: use packing=documents")


class Pieces(NamedTuple):
    """Parts of documents in order of rows: the row, the position of the first token, tokens and targets."""

    row_D: np.ndarray
    first_D: np.ndarray
    length_D: np.ndarray
    targets_D: np.ndarray


class PieceRows:
    """Rows made of pieces that follow one another; a kind of packing says how places are cut into them."""

    separate = False  # whether a token sees those of its piece only

    def __init__(self, tokens: TokenFile, context: int, anew: bool = True) -> None:
        self.tokens, self.context, self.anew = tokens, context, anew

    def cut(self, places_R: np.ndarray) -> Pieces:
        """The pieces of rows at these places, of which none is NOTHING."""
        raise NotImplementedError

    def find_firsts(self, places_R: np.ndarray) -> np.ndarray:
        pieces = self.cut(places_R)
        return pieces.first_D[np.searchsorted(pieces.row_D, np.arange(len(places_R)))]

    def measure(self, places_R: np.ndarray) -> dict[str, Any]:
        pieces = self._cut_real(places_R)
        lengths_R = np.bincount(pieces.row_D, pieces.targets_D, len(places_R)).astype(np.int64)
        found = {"count": int(lengths_R.sum()), "lengths_R": torch.from_numpy(lengths_R)}
        if self.separate:
            found["document_lengths_D"] = torch.from_numpy(pieces.length_D)
        return found

    def read(self, places_B: np.ndarray) -> dict[str, torch.Tensor]:
        row_D, first_D, length_D, targets_D = self._cut_real(places_B)
        before_D = np.cumsum(length_D) - length_D
        start_D = before_D - before_D[np.searchsorted(row_D, row_D)] if len(row_D) else before_D
        # for each token of the rows: its index in its piece, in the file and in all rows
        index_N = np.arange(length_D.sum()) - np.repeat(before_D, length_D)
        position_N = np.repeat(first_D, length_D) + index_N
        slot_N = np.repeat(row_D * self.context + start_D, length_D) + index_N
        predicts_N = index_N < np.repeat(targets_D, length_D)
        shape = len(places_B), self.context
        tokens_BT, targets_BT = np.full(shape, NOTHING), np.full(shape, IGNORED)
        tokens_BT.reshape(-1)[slot_N] = self.tokens.tokens[position_N]
        targets_BT.reshape(-1)[slot_N[predicts_N]] = self.tokens.tokens[position_N[predicts_N] + 1]
        found = {"tokens_BT": tokens_BT, "targets_BT": targets_BT}
        if self.separate:
            found["starts_BT"] = np.tile(np.arange(self.context), (len(places_B), 1))
            found["starts_BT"].reshape(-1)[slot_N] = np.repeat(start_D, length_D)
        return {name: torch.from_numpy(ids_BT) for name, ids_BT in found.items()}

    def _cut_real(self, places_R: np.ndarray) -> Pieces:
        """The pieces of all rows but those that are NOTHING."""
        (real,) = np.nonzero(places_R != NOTHING)
        pieces = self.cut(places_R[real])
        return pieces._replace(row_D=real[pieces.row_D])


class WindowRows(PieceRows):
    """Windows of the corpus, which run on over the ends of documents, whose tokens see each other there.

    In training they are always full. In validation they follow one another, so that each token but the very
    first is predicted once; the last may be shorter. A place is the position of the first token.
    """

    def __len__(self) -> int:
        return count_windows(len(self.tokens.tokens), self.context)

    def locate(self, rows_R: np.ndarray, seed: int) -> np.ndarray:
        return find_starts(rows_R, len(self.tokens.tokens), self.context, seed, self.anew)

    def list_places(self) -> np.ndarray:
        return np.arange(0, len(self.tokens.tokens) - 1, self.context)

    def cut(self, places_R: np.ndarray) -> Pieces:
        length_R = np.minimum(len(self.tokens.tokens) - 1 - places_R, self.context)
        return Pieces(np.arange(len(places_R)), places_R, length_R, length_R)

    def read(self, places_B: np.ndarray) -> dict[str, torch.Tensor]:
        if len(places_B) and (places_B.min() < 0 or places_B.max() + self.context >= len(self.tokens.tokens)):
            return super().read(places_B)
        # a view of every possible window, so that each row is copied in one piece
        windows = np.lib.stride_tricks.sliding_window_view(self.tokens.tokens, self.context + 1)
        sides = {"tokens_BT": windows[places_B, :-1], "targets_BT": windows[places_B, 1:]}
        return {name: torch.from_numpy(ids_BT.astype(np.int64)) for name, ids_BT in sides.items()}


class SeparatedRows(WindowRows):
    """The same windows, cut where a document begins; the first token of a document is no target."""

    separate = True
    read = PieceRows.read

    def cut(self, places_R: np.ndarray) -> Pieces:
        firsts = self.tokens.documents[:, 0]
        length_R = super().cut(places_R).length_D
        end_R = places_R + length_R
        begun_R, before_R = (self.tokens.count_documents(at_R) for at_R in (places_R, end_R - 1))
        pieces_R = 1 + before_R - begun_R  # the rest of a document, and those that begin in the row
        row_D = np.repeat(np.arange(len(places_R)), pieces_R)
        last_R = np.cumsum(pieces_R)
        index_D = np.arange(len(row_D)) - (last_R - pieces_R)[row_D]
        begins_D = firsts[np.maximum(begun_R[row_D] + index_D - 1, 0)]
        first_D = np.where(index_D == 0, places_R[row_D], begins_D)
        behind_D = np.append(first_D[1:], 0)
        behind_D[last_R - 1] = end_R
        ended_D = np.ones(len(row_D), bool)  # whether the next token is another document's
        ended_D[last_R - 1] = self.tokens.count_documents(end_R) > before_R
        length_D = behind_D - first_D
        return Pieces(row_D, first_D, length_D, np.maximum(length_D - ended_D, 0))


class DocumentRows(PieceRows):
    """A document a row, cut off after `context` targets. A place is the number of the document."""

    def __len__(self) -> int:
        return len(self.tokens.documents)

    def locate(self, rows_R: np.ndarray, seed: int) -> np.ndarray:
        return shuffle_rows(rows_R, len(self), seed, self.anew)

    def list_places(self) -> np.ndarray:
        return np.arange(len(self))

    def cut(self, places_R: np.ndarray) -> Pieces:
        first_R, end_R = self.tokens.spans(places_R)
        length_R = np.clip(end_R - first_R - 1, 0, self.context)
        return Pieces(np.arange(len(places_R)), first_R, length_R, length_R)
