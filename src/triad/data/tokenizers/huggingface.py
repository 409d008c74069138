"""A tokenizer.json of Hugging Face's `tokenizers`."""

import json
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from triad.data.sources.source import Source
from triad.data.tokenizers.tokenizer import ENCODED_AT_ONCE, Tokenizer, cut_at_lines, hash_bytes, read_intact

if TYPE_CHECKING:
    import tokenizers

FILE = "huggingface.json"
SPACE = "\u2581"
BYTE = re.compile("<0x([0-9A-F]{2})>")
PROBES = (
    "  a\tb \r\n\n c  ",
    "e\u0301 \u00e9 \ufb01 \u212b \u0130",
    "\u4f60\U0001f642\u200d\ufe0f \0\x1b\u2581\ufeff",
    "<s></s> [CLS] <0x41> Don't .",
)
SHOWN = 6  # special tokens that an error names


class HuggingFace(Tokenizer):
    """A tokenizer.json; truncation, padding, dropout and the special tokens of its template are left out.

    Byte-level ones without normalisation (GPT-2, Llama 3) and others that give PROBES back byte by byte are
    lossless. What another leaves out of a text, such as case, is lost, and `decode` is its own.
    """

    kind = "huggingface"
    packages = ("tokenizers",)

    def __init__(self, file: bytes, eos_token: str | None) -> None:
        self.file, self.eos_token = file, eos_token
        self._tokenizer = tokenizer = _read(file)
        spec = json.loads(file)
        tokens = {i: token for token, i in tokenizer.get_vocab().items()}
        added = {one["id"]: one for one in spec["added_tokens"]}
        special = {i for i, one in added.items() if one["special"]}
        self.pieces = [b""] * (max(tokens) + 1)
        for i in tokens.keys() - special:
            self.pieces[i] = tokens[i].encode() if i in added else _find_bytes(tokens[i], spec)
        self.separator = None if eos_token is None else tokenizer.token_to_id(eos_token)
        self.unknown = _find_unknown(spec, tokenizer)
        self._special = special - {self.unknown}
        # inside each spelled special token, after its first character
        cuts = (f"(?<={re.escape(tokens[i][0])})(?={re.escape(tokens[i][1:])})" for i in special)
        self._cuts = re.compile("|".join(cuts))
        self.lossless = True
        self.lossless = self.joins = all(self.decode(self.encode(probe)) == probe for probe in PROBES)

    def encode(self, text: str) -> np.ndarray:
        return np.concatenate([np.empty(0, np.int64), *self.encode_pieces([text])])

    def encode_pieces(self, pieces: Iterable[str]) -> Iterator[np.ndarray]:
        # one that is not lossless may put a blank before each part
        parts = cut_at_lines(pieces, ENCODED_AT_ONCE) if self.lossless else ["".join(pieces)]
        for part in parts:
            yield np.array(self._encode_part(part), np.int64)

    def encode_with_offsets(self, text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self.lossless:
            return super().encode_with_offsets(text)
        ids, spans, shift = [], [], 0
        for part, encoding in self._encode_parts(text):
            ids += encoding.ids
            spans += [(shift + first, shift + end) for first, end in encoding.offsets]
            shift += len(part)
        first, end = np.array(spans, np.int64).reshape(-1, 2).T
        return np.array(ids, np.int64), first, end

    @cached_property
    def begins_word(self) -> np.ndarray:
        model = json.loads(self.file)["model"]
        if model.get("type") != "WordPiece":
            return super().begins_word
        inside = model["continuing_subword_prefix"].encode()
        return np.array([not piece.startswith(inside) for piece in self.pieces])

    def _encode_part(self, text: str) -> list[int]:
        return [i for _, encoding in self._encode_parts(text) for i in encoding.ids]

    def _encode_parts(self, text: str) -> list[tuple[str, "tokenizers.Encoding"]]:
        """A text in parts of which none becomes a special token, with the library's encoding of each."""
        whole = self._tokenizer.encode(text, add_special_tokens=False)
        if self._special.isdisjoint(whole.ids):
            return [(text, whole)]
        # a unigram model has the spelling of its special tokens among its pieces
        cut = self._cuts.split(text)
        return [(part, self._tokenizer.encode(part, add_special_tokens=False)) for part in cut]

    def decode(self, ids: Any) -> str:
        if self.lossless:
            return super().decode(ids)
        return self._tokenizer.decode(self.check_ids(ids), skip_special_tokens=True)

    def settings(self) -> dict[str, Any]:
        return {"file_blake2b": hash_bytes(self.file), "eos_token": self.eos_token}

    def write(self, folder: Path) -> None:
        super().write(folder)
        (folder / FILE).write_bytes(self.file)


def huggingface(source: Source, cache: Path, path: str, eos_token: str | None) -> HuggingFace:
    """The tokenizer of a file, or of the tokenizer.json in a folder; `eos_token` ends a document.

    Where it is null, it is the only special token that the file has; a file with several is refused.
    """
    file = Path(path).expanduser()
    content = (file / "tokenizer.json" if file.is_dir() else file).read_bytes()
    try:
        special = [one["content"] for one in json.loads(content)["added_tokens"] if one["special"]]
        if not _read(content).get_vocab_size():
            raise ValueError("it has no tokens")
    except Exception as error:  # the library raises this very class
        reason = f"no tokenizer.json that `tokenizers` reads ({type(error).__name__}: {error})"
        raise ValueError(f"tokenizer.path={path}: {reason}") from None
    named = (", ".join(special[:SHOWN]) or "none") + ", ..." * (len(special) > SHOWN)
    if eos_token is None and len(special) > 1:
        raise ValueError(f"tokenizer.path={path}: which of {named} ends a document? set tokenizer.eos_token")
    if eos_token is not None and eos_token not in special:
        raise ValueError(f"tokenizer.eos_token={eos_token}: no special token of {path} (it has: {named})")
    return HuggingFace(content, eos_token or next(iter(special), None))


def load(folder: Path, file_blake2b: str, eos_token: str | None) -> HuggingFace:
    """The one whose file lies in `folder`."""
    return HuggingFace(read_intact(folder / FILE, file_blake2b), eos_token)


def _read(file: bytes) -> "tokenizers.Tokenizer":
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(file.decode())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # their spelling in a text is text
    if getattr(tokenizer.model, "dropout", None):
        tokenizer.model.dropout = None
    return tokenizer


def _find_unknown(spec: dict[str, Any], tokenizer: "tokenizers.Tokenizer") -> int | None:
    model = spec["model"]
    if (token := model.get("unk_token")) is not None:
        return tokenizer.token_to_id(token)
    return model.get("unk_id")


def _find_bytes(token: str, spec: dict[str, Any]) -> bytes:
    """The UTF-8 that a token of the model stands for, by the kind of its decoder."""
    if '"ByteLevel"' in json.dumps(spec["decoder"]):
        return b"".join(SIGN_TO_BYTE.get(sign) or sign.encode() for sign in token)
    if spec["model"].get("byte_fallback") and (byte := BYTE.fullmatch(token)):
        return bytes([int(byte[1], 16)])
    return token.replace(SPACE, " ").encode()


def _list_signs() -> dict[str, bytes]:
    """The signs that GPT-2 writes bytes as: themselves where they can be seen, else those from U+0100 on."""
    seen = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [value for value in range(256) if value not in seen]
    signs = {chr(value): bytes([value]) for value in seen}
    return signs | {chr(0x100 + n): bytes([value]) for n, value in enumerate(others)}


SIGN_TO_BYTE = _list_signs()
