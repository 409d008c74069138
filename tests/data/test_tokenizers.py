import io
import random
from functools import partial
from itertools import islice

import numpy as np
import pytest

from triad.data.sources.source import Document, Source
from triad.data.sources.stdlib import stdlib
from triad.data.sources.text import text
from triad.data.tokenizers import learning
from triad.data.tokenizers.byte import byte
from triad.data.tokenizers.char import char
from triad.data.tokenizers.tokenizer import load_tokenizer

SAMPLE = {"hard_vocab_limit": True, "sample_bytes": 20 << 20, "sample_seed": 0}
bpe, unigram = partial(learning.bpe, **SAMPLE), partial(learning.unigram, **SAMPLE)
LEARNERS = pytest.mark.parametrize("learn", [bpe, unigram], ids=["bpe", "unigram"])

HARD_TEXTS = [
    "",
    " ",
    "\n",
    "\t\tif x:\n\t\t\treturn  y   \n\n\n",
    "    def f(self):\r\n        return 1\r",
    "nul \0 bell \a escape \x1b",
    "你好,世界。日本語 한국어",
    "emoji 👩‍👩‍👧 🇫🇷 é é",
    "▁lower▁one▁▁eighth block ▁ ",
    "<s></s><unk><0x41>\u2585\ufffd\ufeff\U0010ffff",
    "ends in space  ",
]


def written(folder, texts):
    for i, content in enumerate(texts):
        (folder / f"{i:03}.txt").write_text(content)
    return text(str(folder), "text", 0.2, None, None)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    documents = islice(stdlib(0.04).documents("train"), 30)
    return written(tmp_path_factory.mktemp("corpus"), [document.text for document in documents])


@pytest.fixture(scope="module")
def learned(corpus, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return {
        "bpe": bpe(corpus, cache, 600),
        "unigram": unigram(corpus, cache, 600),
        "byte": byte(corpus, cache),
    }


@pytest.mark.parametrize("kind", ["byte", "bpe", "unigram"])
def test_every_text_survives_a_round_trip(learned, kind):
    chance = random.Random(0)
    characters = [chr(c) for c in range(0x3000) if not 0xD800 <= c < 0xE000] + list(" \n\t▁é中🙂")
    strings = ["".join(chance.choices(characters, k=chance.randrange(60))) for _ in range(200)]
    for string in HARD_TEXTS + strings:
        ids = learned[kind].encode(string)
        assert learned[kind].decode(ids) == string
        assert learned[kind].byte_lengths[ids].sum() == len(string.encode())
        assert learned[kind].separator not in ids


def test_a_long_text_survives_being_encoded_in_stretches(learned):
    for string in ("line of some text\n" * 20_000, "x y" * 100_000):
        assert learned["bpe"].decode(learned["bpe"].encode(string)) == string


@pytest.mark.parametrize("kind", ["byte", "bpe", "unigram"])
def test_the_vocabulary_has_its_size_and_an_empty_separator(learned, kind):
    tokenizer = learned[kind]
    assert tokenizer.vocab_size == (257 if kind == "byte" else 600)
    assert tokenizer.decode([tokenizer.separator]) == ""
    assert tokenizer.decode(range(tokenizer.vocab_size))


def test_broken_characters_decode_to_the_replacement_character(learned):
    for tokenizer in learned.values():
        ids = tokenizer.encode("🙂")
        if len(ids) > 1:
            assert "\ufffd" in tokenizer.decode(ids[:-1])


def test_newlines_and_indentation_become_pieces(learned):
    assert {b":\n", b"    ", b"        "} <= set(learned["bpe"].pieces)


def test_learning_twice_gives_the_same_tokenizer_from_the_cache(corpus, learned, tmp_path, monkeypatch):
    first = bpe(corpus, tmp_path, 600)
    monkeypatch.setattr("sentencepiece.SentencePieceTrainer.train", None)
    assert bpe(corpus, tmp_path, 600).fingerprint == first.fingerprint == learned["bpe"].fingerprint


@pytest.mark.parametrize("kind", ["byte", "bpe", "unigram"])
def test_a_saved_tokenizer_loads_as_itself(learned, tmp_path, kind):
    learned[kind].save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.fingerprint == learned[kind].fingerprint
    assert loaded.pieces == learned[kind].pieces
    assert np.array_equal(loaded.encode("def f():\n"), learned[kind].encode("def f():\n"))


def test_a_flipped_bit_of_a_saved_model_is_noticed(learned, tmp_path):
    learned["bpe"].save(tmp_path)
    model = bytearray((tmp_path / "tokenizer.model").read_bytes())
    model[len(model) // 2] ^= 4
    (tmp_path / "tokenizer.model").write_bytes(model)
    with pytest.raises(ValueError, match="the tokenizer is damaged"):
        load_tokenizer(tmp_path)


def test_different_tokenizers_have_different_fingerprints(learned, corpus, tmp_path):
    others = [char(corpus, tmp_path), bpe(corpus, tmp_path, 601)]
    assert len({tokenizer.fingerprint for tokenizer in [*learned.values(), *others]}) == 5


def test_a_vocabulary_that_does_not_suit_the_corpus_is_refused_with_the_bound(tmp_path):
    source = written(tmp_path, [f"text {i}\n" for i in range(50)])
    for learn in (bpe, unigram):
        with pytest.raises(ValueError, match=r"tokenizer\.vocab_size=5000: .* at most \d+; lower"):
            learn(source, tmp_path / "cache", 5000)
        with pytest.raises(ValueError, match=r"tokenizer\.vocab_size=100: .* needs 2\d\d or more; raise"):
            learn(source, tmp_path / "cache", 100)


@LEARNERS
@pytest.mark.parametrize("content", ["\0" * 2000, "\n" * 2000, "\u2585" * 2000, "\r\n" * 1000])
def test_a_text_that_nothing_is_learned_from_is_refused_in_terms_of_the_configuration(
    tmp_path, learn, content
):
    (tmp_path / "a.txt").write_text(content, newline="")
    with pytest.raises(
        ValueError, match=rf"tokenizer={learn.func.__name__}: data=text has nothing .*tokenizer=byte"
    ):
        learn(text(str(tmp_path / "a.txt"), "text", 0.2, None, None), tmp_path, 300)


@LEARNERS
@pytest.mark.parametrize(
    ("vocab_size", "words"),
    [
        (-5, "needs 259 or more"),
        (0, "needs 259"),
        (258, "needs 259"),
        (2 * 10**9, r"fills at most \d+; lower"),
    ],
)
def test_a_vocabulary_that_no_corpus_has_is_refused(corpus, tmp_path, learn, vocab_size, words):
    with pytest.raises(ValueError, match=rf"tokenizer\.vocab_size={vocab_size}: data=text {words}"):
        learn(corpus, tmp_path, vocab_size)


@LEARNERS
def test_a_reserved_character_leaves_the_text_around_it_to_be_learned_from(tmp_path, learn):
    stretch = ("wandering \u2585 wandering \u2581 " * 200)[:4096]  # what sentencepiece would leave out whole
    (tmp_path / "a.txt").write_text(stretch + "xyz " * 3000)
    source = text(str(tmp_path / "a.txt"), "text", 0.2, None, None)
    tokenizer = learn(source, tmp_path, 270)
    assert {tokenizer.pieces.count(bytes([letter])) for letter in b"wandering"} == {2}  # a byte, and learned
    for string in ("a \u2585\u2585 b", "\u2581", "wandering\u2585"):
        assert tokenizer.decode(tokenizer.encode(string)) == string


def test_learning_reads_a_bounded_sample_of_a_large_corpus(tmp_path, monkeypatch):
    seen = io.StringIO()

    def train(sentence_iterator, model_writer, **settings):
        seen.writelines(sentence_iterator)
        raise RuntimeError("seen enough")

    monkeypatch.setattr("sentencepiece.SentencePieceTrainer.train", train)
    rows = [Document(str(i), f"{i:09} " * 500) for i in range(200)]
    with pytest.raises(RuntimeError, match="seen enough"):
        bpe(Source("rows", lambda split: iter(rows)), tmp_path, 300, sample_bytes=100_000)
    sample = seen.getvalue()
    assert 70_000 < len(sample) <= 100_000
    assert len({int(word) // 20 for word in sample.split() if len(word) == 9}) >= 8


def test_an_unknown_character_is_named(tmp_path):
    tokenizer = char(written(tmp_path, [f"text {i}\n" for i in range(50)]), tmp_path)
    assert tokenizer.decode(tokenizer.encode("text 7\n")) == "text 7\n"
    for unknown in ("é", "🙂", "\0"):
        with pytest.raises(ValueError, match=r"tokenizer=char: .* is not among the 15 characters"):
            tokenizer.encode("text " + unknown)
    tokenizer.save(tmp_path / "saved")
    assert load_tokenizer(tmp_path / "saved").fingerprint == tokenizer.fingerprint


def test_tiny_shakespeare_has_65_characters(tiny_shakespeare, tmp_path):
    assert char(tiny_shakespeare, tmp_path).vocab_size == 65


def test_bpe_4096_reaches_3_3_bytes_a_token_on_the_standard_library(tmp_path):
    source = stdlib(0.04)
    tokenizer = bpe(source, tmp_path, 4096)
    n_tokens = sum(len(tokenizer.encode(document.text)) for document in source.documents("val"))
    assert source.contents["val"].bytes / n_tokens > 3.2
