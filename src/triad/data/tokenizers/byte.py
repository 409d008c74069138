"""The bytes of UTF-8 as tokens."""

from pathlib import Path
from typing import Any

import numpy as np

from triad.data.sources.source import Source
from triad.data.tokenizers.tokenizer import Tokenizer


class Byte(Tokenizer):
    """The 256 bytes of UTF-8, then the separator."""

    kind = "byte"

    def __init__(self) -> None:
        self.pieces = [bytes([value]) for value in range(256)] + [b""]
        self.separator = 256

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode(), np.uint8).astype(np.int64)

    def settings(self) -> dict[str, Any]:
        return {}


def byte(source: Source, cache: Path) -> Byte:
    """The tokenizer that needs no training."""
    return Byte()


def load(folder: Path) -> Byte:
    """The one that there is."""
    return Byte()
