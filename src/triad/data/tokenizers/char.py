"""The characters of a corpus as tokens."""

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from triad.data.sources.source import Source
from triad.data.tokenizers.tokenizer import Tokenizer
from triad.storage.cache import build_once
from triad.storage.manifest import fingerprint


class Char(Tokenizer):
    """The sorted characters of a corpus; no separator, as in nanoGPT's Shakespeare."""

    kind = "char"

    def __init__(self, characters: str) -> None:
        self.characters = characters
        self.pieces = [character.encode() for character in characters]
        codes = np.array([ord(character) for character in characters])
        self._id_of_code = np.full(codes.max() + 2, -1)  # the last entry answers for all codes above
        self._id_of_code[codes] = np.arange(len(codes))

    def encode(self, text: str) -> np.ndarray:
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        ids = self._id_of_code[np.minimum(codes, len(self._id_of_code) - 1)]
        if (ids < 0).any():
            unknown = text[int(np.argmax(ids < 0))]
            raise ValueError(
                f"tokenizer=char: {unknown!r} (U+{ord(unknown):04X}) is not among the {self.vocab_size} "
                "characters of its corpus; use tokenizer=byte or tokenizer=bpe"
            )
        return ids

    def settings(self) -> dict[str, Any]:
        return {"characters": self.characters}


def char(source: Source, cache: Path) -> Char:
    """Characters of both splits: 65 for tiny Shakespeare."""
    texts = [contents.fingerprint for contents in source.contents.values()]
    folder = cache / f"tokenizer-{fingerprint('char', *texts)}"
    return Char(build_once(folder, lambda _: {"characters": _find_characters(source)})["characters"])


def load(folder: Path, characters: str) -> Char:
    """The one of these characters."""
    return Char(characters)


def _find_characters(source: Source) -> str:
    found: set[str] = set()
    for document in chain(source.documents("train"), source.documents("val")):
        for piece in document.pieces:
            found.update(piece)
    return "".join(sorted(found))
