"""A model of sentencepiece: byte pairs or unigrams."""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import sentencepiece

from triad.data.tokenizers.segmentations import WORD, draw, draw_path, drop_merges
from triad.data.tokenizers.tokenizer import ENCODED_AT_ONCE, Tokenizer, cut_at_lines, hash_bytes, read_intact

SPACE = "\u2581"  # sentencepiece's own sign for a space; in a text it must be spelled in bytes
LONGEST_PIECE = 16  # characters: sentencepiece's default
MODEL = "tokenizer.model"
UNKNOWN_PENALTY = 10.0  # sentencepiece: a character without a piece is that much worse than the worst piece


class SentencePiece(Tokenizer):
    """A sentencepiece model with byte fallback, lossless for any text; no text has the unknown token.

    Kudo & Richardson 2018, arXiv:1808.06226.
    """

    kind = "sentencepiece"
    has_unknown = True
    segmentations = "many"

    def __init__(self, model: bytes) -> None:
        self.model = model
        self._processor = processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.pieces = [_decode_piece(processor, i) for i in range(processor.get_piece_size())]
        self.separator, self.unknown = processor.eos_id(), processor.unk_id()
        self._first_byte = processor.piece_to_id("<0x00>")
        self._space = [self._first_byte + value for value in SPACE.encode()]

    def encode(self, text: str) -> np.ndarray:
        return np.concatenate([np.empty(0, np.int64), *self.encode_pieces([text])])

    def encode_pieces(self, pieces: Iterable[str]) -> Iterator[np.ndarray]:
        for part in cut_at_lines(pieces, ENCODED_AT_ONCE):
            yield np.array(self._encode_part(part, self._processor.encode), np.int64)

    def encode_sampled(self, text: str, seed: int, alpha: float, nbest_size: int = -1) -> np.ndarray:
        """Ids of a segmentation drawn at random; the same for the same seed, in every process.

        Of byte pairs `alpha` is the probability that a merge is dropped (BPE-dropout), of unigrams the
        exponent of the probabilities that are drawn by (subword regularization): those of the `nbest_size`
        likeliest segmentations of each word, or of all (-1).
        """
        random = Random(seed)

        def draw_word(word: str) -> list[int]:
            if self._merges:
                return self._find_ids(drop_merges(word, self._scores, alpha, random))
            if nbest_size < 0:
                path = draw_path(word, self._scores, LONGEST_PIECE, self._unknown_score, alpha, random)
                return self._find_ids(path)
            best = self._processor.nbest_encode_as_ids(word, nbest_size)
            score = self._processor.get_score  # 0 of a byte
            return draw([(ids, alpha * math.fsum(map(score, ids))) for ids in best], random)

        def encode(part: str) -> list[int]:
            return [token for word in WORD.findall(part) for token in draw_word(word)]

        return np.array(self._encode_part(text, encode), np.int64)

    def _encode_part(self, text: str, encode: Callable[[str], list[int]]) -> list[int]:
        """Ids of a text whose U+2581 are spelled in bytes, as sentencepiece would read them as spaces."""
        first, *others = text.split(SPACE)
        ids = encode(first)
        for other in others:
            ids += self._space + encode(other)
        return ids

    def _find_ids(self, symbols: list[str]) -> list[int]:
        """The tokens of pieces, and of a character that has none those of its bytes."""
        ids = []
        for symbol in symbols:
            piece = self._ids.get(symbol)
            ids += [self._first_byte + byte for byte in symbol.encode()] if piece is None else [piece]
        return ids

    @cached_property
    def _ids(self) -> dict[str, int]:
        """Tokens by the text of their pieces, without bytes and special tokens."""
        processor, special = self._processor, {self.separator, self.unknown}
        texts = [i for i in range(self.vocab_size) if i not in special and not processor.is_byte(i)]
        return {self.pieces[i].decode(): i for i in texts}

    @cached_property
    def _scores(self) -> dict[str, float]:
        return {text: self._processor.get_score(i) for text, i in self._ids.items()}

    @cached_property
    def _merges(self) -> bool:
        """Whether this is a bpe model: its scores are ranks, those of unigrams log probabilities."""
        return all(score.is_integer() for score in self._scores.values())

    @cached_property
    def _unknown_score(self) -> float:
        return min(self._scores.values()) - UNKNOWN_PENALTY

    def settings(self) -> dict[str, Any]:
        return {"model_blake2b": hash_bytes(self.model)}

    def write(self, folder: Path) -> None:
        super().write(folder)
        (folder / MODEL).write_bytes(self.model)


def load(folder: Path, model_blake2b: str) -> SentencePiece:
    """The one whose model lies in `folder`."""
    return SentencePiece(read_intact(folder / MODEL, model_blake2b))


def _decode_piece(processor: sentencepiece.SentencePieceProcessor, token: int) -> bytes:
    """The UTF-8 a piece stands for: nothing for the separator, U+FFFD for the unknown token."""
    if processor.is_unknown(token):
        return "\ufffd".encode()
    if processor.is_control(token):
        return b""
    piece = processor.id_to_piece(token)
    return bytes([int(piece[3:5], 16)]) if processor.is_byte(token) else piece.replace(SPACE, " ").encode()
