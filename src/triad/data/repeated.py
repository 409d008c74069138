"""Rows of which every epoch is as the first one."""

import numpy as np

from triad.data.packing import RowReader


class RepeatedEpoch:
    """The rows of an epoch over and over: the same rows, cut at the same places, in the same order."""

    def __init__(self, rows: RowReader) -> None:
        self.rows = rows
        self.list_places, self.find_firsts = rows.list_places, rows.find_firsts
        self.measure, self.read = rows.measure, rows.read

    def __len__(self) -> int:
        return len(self.rows)

    def locate(self, rows_R: np.ndarray, seed: int) -> np.ndarray:
        return self.rows.locate(rows_R % len(self.rows), seed)
