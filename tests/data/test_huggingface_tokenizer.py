"""A tokenizer.json gives the ids that its library gives, and no text becomes a special token."""

import json
import re

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from triad.data import refusals
from triad.data.sources.source import Document, Source
from triad.data.tokenizers.huggingface import huggingface
from triad.data.tokenizers.tokenizer import load_tokenizer

TEXTS = [
    "def main():\n    return 1\n",
    "Zwölf\tBoxkämpfer  Viktor",
    "你好 🙂 e\u0301",
    "a \u2581 b\r\n\n",
    "<| <| <|",
]
SPECIAL = ["<|endoftext|>", "<|im_start|>"]
EMPTY = tokenizers.Tokenizer(models.BPE()).to_str()
NOWHERE = Source("nowhere", lambda split: iter([Document("a", "a")]))


def byte_level(specials=SPECIAL, normalizer=None, **words):
    made = tokenizers.Tokenizer(models.BPE(**words))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder, alphabet = decoders.ByteLevel(), pre_tokenizers.ByteLevel.alphabet()
    if normalizer:
        made.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(TEXTS * 5, trainer)
    return made


def unigram():
    """As T5 has it: the spelling of its special tokens is among its pieces, with the best score of all."""
    scores = {"<unk>": 0.0, "</s>": 0.0, "\u2581a": -1.0, "a": -2.0}
    signs = dict.fromkeys("▁</s>", -3.0)
    made = tokenizers.Tokenizer(models.Unigram([*(scores | signs).items()], unk_id=0))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    made.add_special_tokens(["</s>", "<unk>"])
    return made


def load(made, folder, eos_token=None):
    made.save(str(folder / "tokenizer.json"))
    return huggingface(NOWHERE, folder, str(folder), eos_token)


def test_the_ids_are_those_of_the_library(tmp_path):
    made = byte_level()
    tokenizer = load(made, tmp_path, "<|endoftext|>")
    assert tokenizer.lossless
    assert tokenizer.separator == made.token_to_id("<|endoftext|>")
    for text in TEXTS:
        assert tokenizer.encode(text).tolist() == made.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert sorted({*b"".join(tokenizer.pieces)}) == [*range(256)]


def test_what_a_file_does_to_rows_is_not_done_to_a_text(tmp_path):
    made = byte_level(dropout=0.9)
    made.enable_truncation(4)
    made.enable_padding(length=64, pad_id=1, pad_token="<|im_start|>")
    tokenizer = load(made, tmp_path, "<|endoftext|>")
    made.no_truncation()
    made.no_padding()
    made.model.dropout = None
    for text in TEXTS * 3:
        assert tokenizer.encode(text).tolist() == made.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("make", [byte_level, unigram])
def test_the_spelling_of_a_special_token_is_text(tmp_path, make):
    made = make()
    eos_token = "</s>" if make is unigram else "<|endoftext|>"
    tokenizer = load(made, tmp_path, eos_token)
    special = {made.token_to_id(token) for token in ([*SPECIAL] if make is byte_level else ["</s>"])}
    assert made.encode(f"a{eos_token} a").ids != tokenizer.encode(f"a{eos_token} a").tolist()
    for text in (f"a{eos_token} a", eos_token, f"{eos_token}{eos_token}<|im_start|>"):
        assert not special & {*tokenizer.encode(text).tolist()}
    made.encode_special_tokens = True
    if make is byte_level:
        assert tokenizer.encode(f"a{eos_token}").tolist() == made.encode(f"a{eos_token}").ids


def test_added_tokens_that_are_not_special_are_text(tmp_path):
    made = byte_level()
    made.add_tokens(["<tool>"])
    tokenizer = load(made, tmp_path, "<|endoftext|>")
    ids = tokenizer.encode("a<tool>b").tolist()
    assert made.token_to_id("<tool>") in ids
    assert tokenizer.decode(ids) == "a<tool>b"


@pytest.mark.parametrize("normalizer", [normalizers.NFC(), normalizers.Lowercase()], ids=["nfc", "lowercase"])
def test_one_that_changes_the_text_is_known_to_lose_some(tmp_path, normalizer):
    tokenizer = load(byte_level(normalizer=normalizer), tmp_path, "<|endoftext|>")
    assert not tokenizer.lossless
    assert tokenizer.decode(tokenizer.encode("plain text\n")) == "plain text\n"


def test_the_end_of_a_document_is_the_only_special_token_or_named(tmp_path):
    assert load(byte_level(SPECIAL[:1]), tmp_path).separator == 0
    assert load(byte_level([]), tmp_path).separator is None
    with pytest.raises(ValueError, match=r"which of <\|endoftext\|>, <\|im_start\|> ends a document\?"):
        load(byte_level(), tmp_path)
    with pytest.raises(ValueError, match=r"tokenizer\.eos_token=</s>: no special token .*it has: <\|endof"):
        load(byte_level(), tmp_path, "</s>")


@pytest.mark.parametrize("content", ["", "[]", "x", '{"added_tokens": [], "model": {}}', "\ud83d", EMPTY])
def test_a_file_that_is_no_tokenizer_is_refused_in_one_sentence(tmp_path, content):
    file = tmp_path / "tokenizer.json"
    file.write_text(content, errors="surrogatepass")
    with pytest.raises(
        ValueError, match=r"^tokenizer\.path=.*: no tokenizer\.json that `tokenizers` reads"
    ) as no:
        huggingface(NOWHERE, tmp_path, str(file), None)
    assert "\n" not in str(no.value)


def test_a_saved_one_keeps_its_file_and_its_end(tmp_path):
    tokenizer = load(byte_level(), tmp_path, "<|im_start|>")
    tokenizer.save(tmp_path / "saved")
    loaded = load_tokenizer(tmp_path / "saved")
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.separator == 1
    settings = json.loads((tmp_path / "saved" / "tokenizer.json").read_text())["settings"]
    assert settings["eos_token"] == "<|im_start|>"


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch):
    part = {"_target_": "triad.data.tokenizers.huggingface.huggingface", "path": "x"}
    config = {"tokenizer": part, "data": {"_target_": "triad.data.sources.stdlib.stdlib"}}
    assert not refusals.find_missing(config)
    monkeypatch.setattr(refusals, "find_spec", lambda package: None)
    (row,) = [row for row in refusals.TABLE if row.holds(config)]
    sentence = row.write(config, refusals.facts)
    needs = r"tokenizer needs the package tokenizers: pip install '\.\[hf\]' .*, or take another tokenizer"
    assert re.fullmatch(needs, sentence)
