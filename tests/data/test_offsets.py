"""Which characters a token stands for, and where words begin, by every tokenizer."""

from functools import partial

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from triad.data.sources.source import Document, Source
from triad.data.tokenizers import learning
from triad.data.tokenizers.byte import Byte
from triad.data.tokenizers.char import Char
from triad.data.tokenizers.huggingface import HuggingFace
from triad.data.tokenizers.word import Word

TEXTS = [
    "The Émigrés' house\tis  tall.\n\nİt stood in Zürich, 你好 \U0001f642 there\u2581too ",
    "unknown words and <unk> and </s>",
    " ",
    "",
]
SAMPLE = {"hard_vocab_limit": False, "sample_bytes": 1 << 20, "sample_seed": 0, "vocab_size": 300}


def learned(kind: str, tmp_path):
    learn = partial({"bpe": learning.bpe, "unigram": learning.unigram}[kind], **SAMPLE)
    text = "".join(f"The house {n} is tall. " for n in range(300))
    return learn(source=Source("s", lambda split: iter([Document("a", text)])), cache=tmp_path)


def byte_level() -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(TEXTS * 3, trainer)
    return made


def word_piece() -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer, made.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    specials = ["[UNK]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=80, special_tokens=specials, show_progress=False)
    made.train_from_iterator(["the house is tall, the houses are taller"] * 3, trainer)
    return made


def make(name: str, tmp_path):
    match name:
        case "byte":
            return Byte()
        case "char":
            return Char("".join(sorted({*"".join(TEXTS)})))
        case "word":
            return Word(["the", " house", " words"], [], lowercase=True)
        case "byte level":
            return HuggingFace(byte_level().to_str().encode(), None)
        case "word piece":
            return HuggingFace(word_piece().to_str().encode(), "[SEP]")
    return learned(name, tmp_path)


KINDS = ["byte", "char", "word", "bpe", "unigram", "byte level", "word piece"]


@pytest.mark.parametrize("name", KINDS)
def test_each_token_stands_for_characters_of_the_text_in_their_order(name: str, tmp_path) -> None:
    tokenizer = make(name, tmp_path)
    for text in TEXTS:
        ids, first, end = tokenizer.encode_with_offsets(text)
        assert ids.tolist() == tokenizer.encode(text).tolist()
        assert len(ids) == len(first) == len(end)
        assert (first < end).all()
        assert (np.diff(first) >= 0).all()
        assert (np.diff(end) >= 0).all()
        for token, start, stop in zip(ids, first, end, strict=True):
            piece, there = tokenizer.pieces[token], text[start:stop]
            if token == tokenizer.unknown:
                assert there
            elif name == "word piece":
                assert piece.decode().removeprefix("##") == there.lower().replace("é", "e").replace("ü", "u")
            else:
                assert piece in (there.encode(), there.lower().encode()) or piece in there.encode()
        if name != "word piece" and text:  # which leaves out blanks
            assert {*range(len(text))} == {at for a, b in zip(first, end, strict=True) for at in range(a, b)}


def test_offsets_of_a_byte_level_tokenizer_are_the_library_s(tmp_path) -> None:
    tokenizer, library = make("byte level", tmp_path), byte_level()
    assert tokenizer.lossless
    for text in TEXTS:
        _, first, end = tokenizer.encode_with_offsets(text)
        expected = library.encode(text, add_special_tokens=False).offsets
        assert [*zip(first.tolist(), end.tolist(), strict=True)] == expected


@pytest.mark.parametrize("name", KINDS)
def test_a_word_is_what_stands_between_blanks(name: str, tmp_path) -> None:
    tokenizer, text = make(name, tmp_path), "the house is tall and the house stands"
    ids, first, _ = tokenizer.encode_with_offsets(text)
    begins = {int(at) for token, at in zip(ids, first, strict=True) if tokenizer.begins_word[token]} | {0}
    blank = name != "word piece"  # the blank before a word is a part of it
    places = [at + (not blank) for at, character in enumerate(text) if character == " "]
    assert begins == {0, *places}
