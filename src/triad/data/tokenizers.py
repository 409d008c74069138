"""Text to token ids and back; the tokenizer owns the vocabulary and its end-of-document token."""

import hashlib
import io
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import sentencepiece

from triad.data.sources.source import Source
from triad.storage.cache import build_once
from triad.storage.durable import replacing_folder
from triad.storage.manifest import fingerprint

SAMPLE_BYTES = 20 << 20  # a sentencepiece model learns from this much text at most
SENTENCE = 4096  # characters of one training sentence: so long that a cut seldom matters
ENCODED_AT_ONCE = 1 << 16  # characters: a huge document does not become a huge Python list
SPACE = "\u2581"  # sentencepiece's own sign for a space; in a text it must be spelled in bytes
RESERVED = re.compile("[\u2581\u2585]")  # sentencepiece learns nothing from a sentence with the second
LONGEST_PIECE = 16  # characters: sentencepiece's default
BYTES_AND_SIGNS = 256 + 2  # byte fallback, the unknown token and the separator: every vocabulary has these


class Tokenizer(ABC):
    """A vocabulary of byte strings, `pieces`; the separator is an empty one, so that no text spells it."""

    kind: str
    pieces: list[bytes]
    separator: int | None = None
    unknown: int | None = None  # a token that no text has

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """Token ids of a text, without separator; decoding them gives the text back."""

    def encode_pieces(self, pieces: Iterable[str]) -> Iterator[np.ndarray]:
        """The ids of a text that comes in pieces, as `encode` gives them of the whole."""
        return map(self.encode, pieces)

    @abstractmethod
    def settings(self) -> dict[str, str]:
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
        """Text of these ids; bytes that form no character become U+FFFD."""
        return b"".join(self.pieces[i] for i in np.asarray(ids).tolist()).decode(errors="replace")

    def save(self, folder: Path) -> None:
        """Have a run carry its tokenizer: the folder is complete or absent; one that is whole stays."""
        try:
            if load_tokenizer(folder).fingerprint == self.fingerprint:
                return
        except (OSError, ValueError, LookupError):  # absent, or cut short by a kill or a full disk
            pass
        with replacing_folder(folder) as beside:
            self.write(beside)

    def write(self, folder: Path) -> None:
        """Write tokenizer.json, for `load_tokenizer`, into a folder."""
        content = {"kind": self.kind, "settings": self.settings(), "fingerprint": self.fingerprint}
        (folder / "tokenizer.json").write_text(json.dumps(content, indent=1))


class Byte(Tokenizer):
    """The 256 bytes of UTF-8, then the separator."""

    kind = "byte"

    def __init__(self) -> None:
        self.pieces = [bytes([value]) for value in range(256)] + [b""]
        self.separator = 256

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode(), np.uint8).astype(np.int64)

    def settings(self) -> dict[str, str]:
        return {}


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

    def settings(self) -> dict[str, str]:
        return {"characters": self.characters}


class SentencePiece(Tokenizer):
    """A sentencepiece model with byte fallback, lossless for any text.

    Kudo & Richardson 2018, arXiv:1808.06226.
    """

    kind = "sentencepiece"
    has_unknown = True

    def __init__(self, model: bytes) -> None:
        self.model = model
        self._processor = processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.pieces = [_decode_piece(processor, i) for i in range(processor.get_piece_size())]
        self.separator, self.unknown = processor.eos_id(), processor.unk_id()
        self._space = [processor.piece_to_id(f"<0x{value:02X}>") for value in SPACE.encode()]

    def encode(self, text: str) -> np.ndarray:
        return np.concatenate([np.empty(0, np.int64), *self.encode_pieces([text])])

    def encode_pieces(self, pieces: Iterable[str]) -> Iterator[np.ndarray]:
        for part in _cut_at_lines(pieces, ENCODED_AT_ONCE):
            yield np.array(self._encode_part(part), np.int64)

    def _encode_part(self, text: str) -> list[int]:
        """Ids of a text whose U+2581 are spelled in bytes, as sentencepiece would read them as spaces."""
        first, *others = text.split(SPACE)
        ids = self._processor.encode(first)
        for other in others:
            ids += self._space + self._processor.encode(other)
        return ids

    def settings(self) -> dict[str, str]:
        return {"model_blake2b": hashlib.blake2b(self.model, digest_size=16).hexdigest()}

    def write(self, folder: Path) -> None:
        super().write(folder)
        (folder / "tokenizer.model").write_bytes(self.model)


def byte(source: Source, cache: Path) -> Byte:
    """The tokenizer that needs no training."""
    return Byte()


def char(source: Source, cache: Path) -> Char:
    """Characters of both splits: 65 for tiny Shakespeare."""
    texts = [contents.fingerprint for contents in source.contents.values()]
    folder = cache / f"tokenizer-{fingerprint('char', *texts)}"
    return Char(build_once(folder, lambda _: {"characters": _find_characters(source)})["characters"])


def bpe(source: Source, cache: Path, vocab_size: Annotated[int, ">= 1"]) -> SentencePiece:
    """Byte-pair encoding: merge the most frequent pair, over and over (Sennrich et al. 2016, 1508.07909)."""
    return _learn("bpe", source, cache, vocab_size)


def unigram(source: Source, cache: Path, vocab_size: Annotated[int, ">= 1"]) -> SentencePiece:
    """The pieces that make the text most probable under a unigram model (Kudo 2018, arXiv:1804.10959)."""
    return _learn("unigram", source, cache, vocab_size)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer that was saved in `folder`; ValueError when its files are not what was saved."""
    content = json.loads((folder / "tokenizer.json").read_text())
    kind, settings = content["kind"], content["settings"]
    if kind == "sentencepiece":
        # checked before it is parsed: most flipped bits of a model load without complaint
        model = (folder / "tokenizer.model").read_bytes()
        intact = hashlib.blake2b(model, digest_size=16).hexdigest() == settings["model_blake2b"]
        tokenizer = SentencePiece(model) if intact else None
    else:
        tokenizer = Byte() if kind == "byte" else Char(**settings)
    if tokenizer is None or tokenizer.fingerprint != content["fingerprint"]:
        raise ValueError(f"{folder}: the tokenizer is damaged; copy it again from the run it came from")
    return tokenizer


def _find_characters(source: Source) -> str:
    found: set[str] = set()
    for document in chain(source.documents("train"), source.documents("val")):
        for piece in document.pieces:
            found.update(piece)
    return "".join(sorted(found))


def _learn(kind: str, source: Source, cache: Path, vocab_size: int) -> SentencePiece:
    fault = f"tokenizer.vocab_size={vocab_size}: data={source.name}"
    if vocab_size <= BYTES_AND_SIGNS:
        raise ValueError(f"{fault} needs {BYTES_AND_SIGNS + 1} or more; raise tokenizer.vocab_size")
    most = BYTES_AND_SIGNS + LONGEST_PIECE * min(source.contents["train"].bytes, SAMPLE_BYTES)
    if vocab_size > most:  # sentencepiece would be busy for hours, or cannot read the number
        raise ValueError(f"{fault} fills at most {most}; lower tokenizer.vocab_size")
    settings = {
        "model_type": kind,
        "vocab_size": vocab_size,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "allow_whitespace_only_pieces": True,
        "max_sentence_length": 4 * SENTENCE,
        "num_threads": 1,  # the model differs with the number of threads
        **{"unk_id": 0, "eos_id": 1, "bos_id": -1, "pad_id": -1},
    }
    learned_from = (source.contents["train"].fingerprint, SAMPLE_BYTES, SENTENCE, RESERVED.pattern)
    folder = cache / f"tokenizer-{fingerprint(settings, sentencepiece.__version__, *learned_from)}"
    build_once(folder, partial(_train, source, settings))
    tokenizer = load_tokenizer(folder)
    assert isinstance(tokenizer, SentencePiece)
    return tokenizer


def _train(source: Source, settings: dict[str, Any], folder: Path) -> None:
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_read_sentences(source), model_writer=model, minloglevel=2, **settings
        )
    except RuntimeError as error:
        raise _explain(error, settings, source.name) or error from None
    SentencePiece(model.getvalue()).write(folder)


def _explain(error: RuntimeError, settings: dict[str, Any], name: str) -> ValueError | None:
    """What sentencepiece's INTERNAL errors mean in terms of the configuration."""
    asked = f"tokenizer.vocab_size={settings['vocab_size']}: data={name}"
    if most := re.search(r"too high.*<= (\d+)", str(error)):
        return ValueError(f"{asked} fills at most {most[1]}; lower tokenizer.vocab_size")
    if least := re.search(r"smaller than required_chars.* vs (\d+)", str(error)):
        return ValueError(f"{asked} needs {least[1]} or more; raise tokenizer.vocab_size")
    if re.search(r"sentences_\.empty|all_chars_count|no pieces", str(error)):
        return ValueError(
            f"tokenizer={settings['model_type']}: data={name} has nothing that sentencepiece learns from, "
            "such as newlines or NUL alone; use tokenizer=byte or give other text"
        )
    return None


def _read_sentences(source: Source) -> Iterator[str]:
    """The training text in short stretches with their newlines; of a large one an evenly hashed sample."""
    total, left = source.contents["train"].bytes, SAMPLE_BYTES
    for name, pieces, _ in source.documents("train"):
        for number, sentence in enumerate(_cut_evenly(pieces, SENTENCE)):
            if int(fingerprint(name, number * SENTENCE)[:8], 16) * total < SAMPLE_BYTES * 2**32:
                left -= len(sentence.encode())
                if left < 0:
                    return
                yield from filter(None, RESERVED.split(sentence))


def _cut_evenly(pieces: Iterable[str], size: int) -> Iterator[str]:
    """The stretches of `size` characters of a text that comes in pieces; the last may be shorter."""
    rest = ""
    for piece in pieces:
        rest += piece
        whole = len(rest) - len(rest) % size
        yield from (rest[start : start + size] for start in range(0, whole, size))
        rest = rest[whole:]
    if rest:
        yield rest


def _cut_at_lines(pieces: Iterable[str], size: int) -> Iterator[str]:
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


def _decode_piece(processor: sentencepiece.SentencePieceProcessor, token: int) -> bytes:
    """The UTF-8 a piece stands for: nothing for the separator, U+FFFD for the unknown token."""
    if processor.is_unknown(token):
        return "\ufffd".encode()
    if processor.is_control(token):
        return b""
    piece = processor.id_to_piece(token)
    return bytes([int(piece[3:5], 16)]) if processor.is_byte(token) else piece.replace(SPACE, " ").encode()
