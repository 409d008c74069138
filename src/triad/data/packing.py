"""What the rows of a text are: windows, windows whose documents do not see each other, or documents.

R rows of a batch, B of them on this rank, T context, D pieces: what the rows hold of documents.
"""

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from triad.data.best_fit import pack_best_fit
from triad.data.shuffle import count_windows, find_starts, shuffle_rows
from triad.data.token_files import TokenFile
from triad.storage.cache import build_once
from triad.storage.manifest import Facts

IGNORED = -100  # the target that cross entropy leaves out
NOTHING = -1  # in the place of a token, where a row has ended; as a place, no row
INDEX = ("parts", "documents", "begins")  # files of best_fit
NONE = np.empty(0, np.int64)
CHUNK = 1 << 16  # rows that are looked at together


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


def pack(tokens: TokenFile, context: int, packing: str, shuffle: str = "every_epoch") -> RowReader:
    """The rows of at most `context` tokens that a split is read in.

    With shuffle="once" all epochs have the order of the first, with "repeat" they are also cut as it is.
    """
    match packing:
        case "windows":
            return WindowRows(tokens, context, shuffle)
        case "documents":
            return SeparatedRows(tokens, context, shuffle)
        case "best_fit":
            return BestFitRows(tokens, context, shuffle)
        case "none":
            return DocumentRows(tokens, context, shuffle)
    raise ValueError(f"packing={packing}: use windows, documents, best_fit or none")


class Pieces(NamedTuple):
    """Parts of documents in order of rows: the row, the position of the first token, tokens and targets."""

    row_D: np.ndarray
    first_D: np.ndarray
    length_D: np.ndarray
    targets_D: np.ndarray


class PieceRows(ABC):
    """Rows made of pieces that follow one another; a kind of packing says how places are cut into them."""

    separate = False  # whether a token sees those of its piece only

    def __init__(self, tokens: TokenFile, context: int, shuffle: str = "every_epoch") -> None:
        self.tokens, self.context, self.shuffle = tokens, context, shuffle

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def cut(self, places_R: np.ndarray) -> Pieces:
        """The pieces of rows at these places, of which none is NOTHING."""

    def locate(self, rows_R: np.ndarray, seed: int) -> np.ndarray:
        """Of rows that are cut alike in every epoch, whose places are their numbers."""
        rows_R = rows_R if self.shuffle == "every_epoch" else rows_R % len(self)
        return shuffle_rows(rows_R, len(self), seed)

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

    In training they are full. In validation they follow one another, so that each token but the very
    first is predicted once; the last may be shorter. A place is the position of the first token.
    """

    padding = 0.0

    def __len__(self) -> int:
        return count_windows(len(self.tokens.tokens), self.context)

    def locate(self, rows_R: np.ndarray, seed: int) -> np.ndarray:
        rows_R = rows_R % len(self) if self.shuffle == "repeat" else rows_R
        anew = self.shuffle == "every_epoch"
        return find_starts(rows_R, len(self.tokens.tokens), self.context, seed, anew)

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
        row_D, index_D = _number_pieces(pieces_R)
        last_R = np.cumsum(pieces_R) - 1
        begins_D = firsts[np.maximum(begun_R[row_D] + index_D - 1, 0)]
        first_D = np.where(index_D == 0, places_R[row_D], begins_D)
        behind_D = np.append(first_D[1:], 0)
        behind_D[last_R] = end_R
        ended_D = np.ones(len(row_D), bool)  # whether the next token is another document's
        ended_D[last_R] = self.tokens.count_documents(end_R) > before_R
        length_D = behind_D - first_D
        return Pieces(row_D, first_D, length_D, np.maximum(length_D - ended_D, 0))


class DocumentRows(PieceRows):
    """A document a row, cut off after `context` targets. A place is the number of the document."""

    @property
    def padding(self) -> float:
        """The share of all places in rows that no token takes; found by a look at all documents."""
        chunks = (np.arange(at, min(at + CHUNK, len(self))) for at in range(0, len(self), CHUNK))
        targets = sum(int(self.cut(chunk).length_D.sum()) for chunk in chunks)
        return 1 - targets / (len(self) * self.context)

    def __len__(self) -> int:
        return len(self.tokens.documents)

    def list_places(self) -> np.ndarray:
        return np.arange(len(self))

    def cut(self, places_R: np.ndarray) -> Pieces:
        first_R, end_R = self.tokens.spans(places_R)
        length_R = np.clip(end_R - first_R - 1, 0, self.context)
        return Pieces(np.arange(len(places_R)), first_R, length_R, length_R)


class BestFitRows(PieceRows):
    """Whole documents that fill rows, by best fit decreasing; parts of `context` targets of longer ones.

    A document of n tokens takes n - 1 places, since its last token predicts nothing. Consecutive parts of one
    share a token, so that each token but the first of a document is predicted exactly once. A place is the
    number of a row: those that one part fills come first, in the order of the text.

    The index is kept beside the token file: at most 24 bytes a document, mapped like the tokens.
    """

    separate = True

    def __init__(self, tokens: TokenFile, context: int, shuffle: str = "every_epoch") -> None:
        super().__init__(tokens, context, shuffle)
        self.folder = tokens.folder.with_name(f"{tokens.folder.name}-{tokens.split}-best_fit-{context}")
        facts = build_once(self.folder, self._build)
        self.full, self.filled, self.targets = facts["full"], facts["filled"], facts["targets"]

    def __len__(self) -> int:
        if not self.full + self.filled:
            raise ValueError(f"the {self.tokens.split} split has no token to predict; give data more text")
        return self.full + self.filled

    @property
    def padding(self) -> float:
        """The share of all places in rows that no token takes."""
        return 1 - self.targets / (len(self) * self.context)

    def list_places(self) -> np.ndarray:
        return np.arange(self.full + self.filled)

    def cut(self, places_R: np.ndarray) -> Pieces:
        parts_N, documents_M, begins_F = self.index
        filled_R = np.maximum(places_R - self.full, 0)
        begin_R = begins_F[filled_R]
        is_filled_R = places_R >= self.full
        pieces_R = np.where(is_filled_R, begins_F[np.minimum(filled_R + 1, self.filled)] - begin_R, 1)
        row_D, index_D = _number_pieces(pieces_R)
        is_filled_D = is_filled_R[row_D]
        document_D = np.searchsorted(parts_N, places_R[row_D], "right")
        document_D[is_filled_D] = documents_M[(begin_R[row_D] + index_D)[is_filled_D]]
        first_D, end_D = self.tokens.spans(document_D)
        whole_D = (end_D - first_D - 1) // self.context  # parts that fill a row
        part_D = np.where(is_filled_D, whole_D, places_R[row_D] - parts_N[document_D] + whole_D)
        first_D = first_D + part_D * self.context
        length_D = np.minimum(end_D - first_D - 1, self.context)
        return Pieces(row_D, first_D, length_D, length_D)

    @cached_property
    def index(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows that parts of the documents up to each fill; the documents of the other rows, and where in
        these each row begins.
        """
        paths = [self.folder / f"{name}.bin" for name in INDEX]
        found = [np.memmap(path, np.int64, "r") if path.stat().st_size else NONE for path in paths]
        return found[0], found[1], found[2]

    def _build(self, folder: Path) -> Facts:
        first_N, end_N = self.tokens.spans(np.arange(len(self.tokens.documents)))
        targets_N = np.maximum(end_N - first_N - 1, 0)
        whole_N, rest_N = np.divmod(targets_N, self.context)
        documents_M = np.flatnonzero(rest_N)
        rows_M = pack_best_fit(rest_N[documents_M], self.context)
        begins_F = np.append(0, np.cumsum(np.bincount(rows_M)))
        parts_N, order_M = np.cumsum(whole_N), np.argsort(rows_M, kind="stable")
        for name, array in zip(INDEX, (parts_N, documents_M[order_M], begins_F), strict=True):
            array.tofile(folder / f"{name}.bin")
        return {"full": int(parts_N[-1]), "filled": len(begins_F) - 1, "targets": int(targets_N.sum())}

    def __getstate__(self) -> dict[str, Any]:
        """Without the maps, which would travel to a DataLoader's worker as copies."""
        return {key: value for key, value in self.__dict__.items() if key != "index"}


def _number_pieces(pieces_R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The row of each piece, and its number within the row."""
    row_D = np.repeat(np.arange(len(pieces_R)), pieces_R)
    return row_D, np.arange(len(row_D)) - (np.cumsum(pieces_R) - pieces_R)[row_D]
