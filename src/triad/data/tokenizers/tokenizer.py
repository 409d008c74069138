"""Text to token ids and back; the tokenizer owns the vocabulary and its end-of-document token."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from functools import cached_property
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar

import numpy as np

from triad.storage.durable import replacing_folder
from triad.storage.manifest import fingerprint

ENCODED_AT_ONCE = 1 << 16  # characters: a huge document does not become a huge Python list


class Tokenizer(ABC):
    """A vocabulary of byte strings, `pieces`; special tokens are empty ones, which no text spells.

    `kind` is the module of this folder that has its `load(folder, **settings)`, `separator` the token at the
    end of a document, `unknown` the token of what the vocabulary lacks, where that is not spelled in bytes.
    `joins`: the text of some tokens is their pieces one after the other.
    """

    kind: ClassVar[str]
    pieces: list[bytes]
    separator: int | None = None
    unknown: int | None = None
    joins: bool = True

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """Token ids of a text, without separator; none is a special token, whatever the text spells."""

    def encode_pieces(self, pieces: Iterable[str]) -> Iterator[np.ndarray]:
        """The ids of a text that comes in pieces, as `encode` gives them of the whole."""
        return map(self.encode, pieces)

    def encode_sampled(self, text: str, seed: int, alpha: float, nbest_size: int = -1) -> np.ndarray:
        """Ids of one of the ways to cut a text into tokens, drawn at random; the same for the same seed.

        Raises ValueError where a text has one segmentation only.
        """
        raise ValueError(
            f"tokenizer={self.kind} knows one segmentation of a text; use tokenizer=bpe or tokenizer=unigram"
        )

    def encode_with_offsets(self, text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The ids of a text, and for each the first character that it stands for and the one behind the last.

        Tokens that share a character, such as its bytes, each have the whole of it.
        """
        ids = self.encode(text)
        starts_character = (np.frombuffer(text.encode(), np.uint8) & 0xC0) != 0x80
        character = np.append(starts_character.cumsum() - 1, len(text))  # of each byte
        ends = self.byte_lengths[ids].cumsum()
        return ids, character[ends - self.byte_lengths[ids]], character[ends - 1] + 1

    @cached_property
    def begins_word(self) -> np.ndarray:
        """Whether each token begins a word: its text begins with a blank, or it is a special token."""
        return np.array([not piece or piece[:1].isspace() for piece in self.pieces])

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """All that tells this tokenizer from another of its kind."""

    @property
    def vocab_size(self) -> int:
        return len(self.pieces)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.kind, self.settings())

    @cached_property
    def byte_lengths(self) -> np.ndarray:
        """How many bytes of UTF-8 each token stands for."""
        return np.array([len(piece) for piece in self.pieces])

    def decode(self, ids: Any) -> str:
        """Text of these ids; bytes that form no character become U+FFFD.

        Raises ValueError for one that is no token, such as padding or a row that pads the vocabulary.
        """
        return b"".join(self.pieces[i] for i in self.check_ids(ids)).decode(errors="replace")

    def check_ids(self, ids: Any) -> list[int]:
        """The ids, if all are tokens."""
        checked = np.asarray(ids).tolist()
        if others := [i for i in checked if not 0 <= i < self.vocab_size]:
            raise ValueError(f"{others[0]} is no token of this vocabulary of {self.vocab_size:,}")
        return checked

    def save(self, folder: Path) -> None:
        """Have a run carry its tokenizer: the folder is complete or absent; one that is whole stays.

        Raises ValueError for a kind that is no module beside this one, which would not be read back.
        """
        if not _is_kind(self.kind):
            raise ValueError(f"tokenizer: no module {self.kind} in triad/data/tokenizers reads it back")
        try:
            if load_tokenizer(folder).fingerprint == self.fingerprint:
                return
        except (OSError, ValueError):  # absent, or cut short by a kill or a full disk
            pass
        with replacing_folder(folder) as beside:
            self.write(beside)

    def write(self, folder: Path) -> None:
        """Write tokenizer.json, for `load_tokenizer`, into a folder."""
        content = {"kind": self.kind, "settings": self.settings(), "fingerprint": self.fingerprint}
        (folder / "tokenizer.json").write_text(json.dumps(content, indent=1))


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer that was saved in `folder`; ValueError when its files are not what was saved."""
    damaged = ValueError(f"{folder}: the tokenizer is damaged; copy it again from the run it came from")
    try:
        content = json.loads((folder / "tokenizer.json").read_text())
        kind, settings, expected = content["kind"], content["settings"], content["fingerprint"]
        intact = fingerprint(kind, settings) == expected
    except (ValueError, LookupError, TypeError):
        raise damaged from None
    if not intact:
        raise damaged
    load = getattr(import_module(f"{__package__}.{kind}"), "load", None) if _is_kind(kind) else None
    if load is None:
        raise ValueError(f"{folder}: tokenizer={kind} is unknown to this version of Triad")
    return load(folder, **settings)


def _is_kind(name: Any) -> bool:
    return name in {module.name for module in iter_modules([str(Path(__file__).parent)])}


def read_intact(path: Path, blake2b: str) -> bytes:
    """The bytes of a file of a tokenizer; ValueError when they are not what was saved.

    They are checked before they are parsed: most flipped bits of a model load without complaint.
    """
    content = path.read_bytes()
    if hash_bytes(content) != blake2b:
        raise ValueError(f"{path}: the tokenizer is damaged; copy it again from the run it came from")
    return content


def hash_bytes(content: bytes) -> str:
    """32 hexadecimal digits that name these bytes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def cut_at_lines(pieces: Iterable[str], size: int) -> Iterator[str]:
    """Stretches of at most `size` characters that end with a line where they can, of a text in pieces."""
    rest = ""
    for piece in pieces:
        rest, start = rest + piece, 0
        while len(rest) - start > size:
            end = rest.rfind("\n", start, start + size) + 1 or start + size
            yield rest[start:end]
            start = end
        rest = rest[start:]
    if rest:
        yield rest
