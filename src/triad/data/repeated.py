"""Rows of which every epoch is as the first one."""

from typing import Any

import numpy as np
import torch

from triad.data.packing import RowReader


class RepeatedEpoch:
    """The rows of an epoch over and over: the same rows, cut at the same places, in the same order."""

    def __init__(self, rows: RowReader) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def locate(self, rows_R: np.ndarray, seed: int) -> np.ndarray:
        return self.rows.locate(rows_R % len(self.rows), seed)

    def list_places(self) -> np.ndarray:
        return self.rows.list_places()

    def find_firsts(self, places_R: np.ndarray) -> np.ndarray:
        return self.rows.find_firsts(places_R)

    def measure(self, places_R: np.ndarray) -> dict[str, Any]:
        return self.rows.measure(places_R)

    def read(self, places_B: np.ndarray) -> dict[str, torch.Tensor]:
        return self.rows.read(places_B)
