import json
import random
import re
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import tokenizers as hf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.warm import drop_stages
from triad.data.sources.source import Document, Source
from triad.data.sources.stdlib import stdlib
from triad.data.sources.text import text
from triad.data.token_files import prepare_tokens
from triad.data.tokenizers import learning
from triad.data.tokenizers.byte import Byte, byte
from triad.data.tokenizers.char import Char, char
from triad.data.tokenizers.huggingface import huggingface
from triad.data.tokenizers.tokenizer import cut_at_lines, load_tokenizer
from triad.data.tokenizers.word import Word, split_words, word
from triad.prepare import show_tokens
from triad.storage.manifest import fingerprint

SAMPLE = {"hard_vocab_limit": True, "sample_bytes": 20 << 20, "sample_seed": 0}
bpe, unigram = partial(learning.bpe, **SAMPLE), partial(learning.unigram, **SAMPLE)
LEARNERS = pytest.mark.parametrize("learn", [bpe, unigram], ids=["bpe", "unigram"])

SPECIAL = (
    *(
        "<s>",
        "</s>",
        "<unk>",
        "<pad>",
        "<mask>",
        "<|endoftext|>",
        "[PAD]",
        "[CLS]",
        "[SEP]",
        "[UNK]",
        "<0x41>",
    ),
    *("\u2581", "\u2585", "  ", "\r\n", "\t", "\u200d", "e\u0301", "\ufeff"),
)
# the same examples at every run
EXAMPLES = settings(derandomize=True, max_examples=60, deadline=None, database=None)
TEXTS = st.lists(st.one_of(st.text(max_size=8), st.sampled_from(SPECIAL)), max_size=12).map("".join)
LATIN = st.text(st.characters(max_codepoint=0x24F), max_size=60)
CUTS = st.lists(st.integers(0, 60), max_size=4).map(sorted)

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
    return text(str(folder), "text", 0.2, None, None, None, None, "raise")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    documents = islice(stdlib(0.04).documents("train"), 30)
    return written(tmp_path_factory.mktemp("corpus"), [document.text for document in documents])


@pytest.fixture(scope="module")
def learned(corpus, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return {
        "bpe": bpe(corpus, cache, 600),
        "unigram": unigram(corpus, cache, 600, sample_bytes=100_000),
        "byte": byte(corpus, cache),
    }


@pytest.fixture(scope="module")
def tokenizers(corpus, learned, tmp_path_factory):
    """One of each kind."""
    folder = tmp_path_factory.mktemp("huggingface")
    made = hf.Tokenizer(hf.models.BPE())
    made.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = hf.decoders.ByteLevel()
    alphabet = hf.pre_tokenizers.ByteLevel.alphabet()
    trainer = hf.trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([document.text for document in corpus.documents("train")], trainer)
    made.save(str(folder / "tokenizer.json"))
    others = {
        "char": Char("".join(map(chr, range(0x250)))),
        "word": word(corpus, folder, min_freq=2, max_size=800, specials=["<pad>"], lowercase=False),
        "huggingface": huggingface(corpus, folder, str(folder), eos_token=None),
    }
    return learned | others


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


@pytest.mark.parametrize("kind", ["byte", "bpe", "unigram", "char", "word", "huggingface"])
def test_a_saved_tokenizer_loads_as_itself_and_its_damage_is_noticed(tokenizers, tmp_path, kind):
    tokenizer = tokenizers[kind]
    tokenizer.save(tmp_path / "saved")
    loaded = load_tokenizer(tmp_path / "saved")
    assert type(loaded) is type(tokenizer)
    assert loaded.fingerprint == tokenizer.fingerprint
    assert (loaded.pieces, loaded.separator) == (tokenizer.pieces, tokenizer.separator)
    assert np.array_equal(loaded.encode("def f():\n"), tokenizer.encode("def f():\n"))
    for file in (tmp_path / "saved").iterdir():
        content = bytearray(file.read_bytes())
        for place in (len(content) // 2, len(content) // 3):
            content[place] ^= 4
            file.write_bytes(content)
            with pytest.raises(ValueError, match="the tokenizer is damaged"):
                load_tokenizer(tmp_path / "saved")
            content[place] ^= 4
            file.write_bytes(content)
    assert load_tokenizer(tmp_path / "saved").fingerprint == tokenizer.fingerprint


def test_a_kind_that_this_version_does_not_know_is_named(tmp_path):
    for kind in ("wordpiece", "learning/../byte", "segmentations"):
        content = {"kind": kind, "settings": {}, "fingerprint": fingerprint(kind, {})}
        (tmp_path / "tokenizer.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match=f"tokenizer={kind} is unknown to this version"):
            load_tokenizer(tmp_path)


@pytest.mark.parametrize("kind", ["byte", "bpe", "unigram", "char", "word", "huggingface"])
def test_an_id_that_is_no_token_is_refused_and_not_taken_from_the_end(tokenizers, kind):
    for wrong in (-1, tokenizers[kind].vocab_size):
        with pytest.raises(ValueError, match=f"^{wrong} is no token of this vocabulary of "):
            tokenizers[kind].decode([0, wrong])


def test_different_tokenizers_have_different_fingerprints(learned, corpus, tmp_path):
    others = [char(corpus, tmp_path), bpe(corpus, tmp_path, 601)]
    assert len({tokenizer.fingerprint for tokenizer in [*learned.values(), *others]}) == 5


@LEARNERS
@pytest.mark.parametrize("vocab_size", [-5, 0, 100, 258, 4000, 2 * 10**9])
def test_a_vocabulary_that_does_not_suit_the_corpus_is_refused_with_the_exact_bound(
    tmp_path, learn, vocab_size
):
    source = written(tmp_path, [f"text {i} of fifty\n" for i in range(50)])
    asked = rf"tokenizer\.vocab_size={vocab_size}: data=text"
    bound = r"needs (\d+) or more; raise" if vocab_size < 259 else r"fills at most (\d+); lower"
    with pytest.raises(ValueError, match=f"{asked} {bound}") as refused:
        learn(source, tmp_path / "cache", vocab_size)
    fits = int(re.search(bound, str(refused.value))[1])
    assert learn(source, tmp_path / "cache", fits).vocab_size == fits
    with pytest.raises(ValueError, match=f"needs {fits}" if vocab_size < 259 else f"at most {fits}"):
        learn(source, tmp_path / "cache", fits - 1 if vocab_size < 259 else fits + 1)


@LEARNERS
def test_without_a_hard_limit_a_small_text_has_the_vocabulary_that_it_fills(tmp_path, learn):
    source = written(tmp_path, [f"text {i} of fifty\n" for i in range(50)])
    with pytest.raises(ValueError, match="hard_vocab_limit=false") as refused:
        learn(source, tmp_path / "cache", 4000)
    fits = int(re.search(r"at most (\d+)", str(refused.value))[1])
    assert learn(source, tmp_path / "cache", 4000, hard_vocab_limit=False).vocab_size == fits
    with pytest.raises(ValueError, match="needs 276 or more"):
        learn(source, tmp_path / "cache", 100, hard_vocab_limit=False)


@LEARNERS
@pytest.mark.parametrize("content", ["\0" * 2000, "\n" * 2000, "\u2585" * 2000, "\r\n" * 1000])
def test_a_text_that_nothing_is_learned_from_is_refused_in_terms_of_the_configuration(
    tmp_path, learn, content
):
    (tmp_path / "a.txt").write_text(content, newline="")
    with pytest.raises(
        ValueError, match=rf"tokenizer={learn.func.__name__}: data=text has nothing .*tokenizer=byte"
    ):
        learn(text(str(tmp_path / "a.txt"), "text", 0.2, None, None, None, None, "raise"), tmp_path, 300)


@LEARNERS
def test_a_reserved_character_leaves_the_text_around_it_to_be_learned_from(tmp_path, learn):
    stretch = ("wandering \u2585 wandering \u2581 " * 200)[:4096]  # what sentencepiece would leave out whole
    (tmp_path / "a.txt").write_text(stretch + "xyz " * 3000)
    source = text(str(tmp_path / "a.txt"), "text", 0.2, None, None, None, None, "raise")
    tokenizer = learn(source, tmp_path, 270)
    assert {tokenizer.pieces.count(bytes([letter])) for letter in b"wandering"} == {2}  # a byte, and learned
    for string in ("a \u2585\u2585 b", "\u2581", "wandering\u2585"):
        assert tokenizer.decode(tokenizer.encode(string)) == string


def test_learning_reads_a_bounded_sample_of_a_large_corpus_by_its_seed():
    rows = [Document(str(i), f"{i:09} " * 500) for i in range(200)]
    source = Source("rows", lambda split: iter(rows))
    samples = ["".join(learning.TextSample(source, 100_000, seed)) for seed in (0, 0, 1)]
    for sample in samples:
        assert 70_000 < len(sample) <= 100_000
        assert len({int(word) // 20 for word in sample.split() if len(word) == 9}) >= 8
    assert samples[0] == samples[1] != samples[2]
    assert len("".join(learning.TextSample(source, 10**9, 1))) == 200 * 5000


def test_the_sample_and_its_seed_choose_what_is_learned_and_memory_is_told(corpus, tmp_path, capsys):
    sizes = {"sample_bytes": 50_000}, {"sample_bytes": 50_000, "sample_seed": 1}, {"sample_bytes": 10**9}
    assert len({bpe(corpus, tmp_path, 400, **size).fingerprint for size in sizes}) == 3
    lines = drop_stages(capsys.readouterr().err)
    assert len(lines) == 3
    for line in lines:
        found = re.fullmatch(
            r"tokenizer=bpe: 400 tokens learned from (.+) of (.+) MB in \d+ s, peak memory (\d+) MB", line
        )
        assert float(found[1]) <= float(found[2])
        assert int(found[3]) > 10  # numpy alone takes as much


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


@pytest.mark.parametrize("kind", ["byte", "bpe", "unigram", "huggingface"])
@EXAMPLES
@given(text=TEXTS)
def test_any_text_survives_a_round_trip_and_none_of_it_becomes_a_special_token(tokenizers, kind, text):
    tokenizer = tokenizers[kind]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.byte_lengths[ids].sum() == len(text.encode())
    assert tokenizer.byte_lengths[ids].all()  # special tokens are of no bytes
    assert not {tokenizer.separator, tokenizer.unknown} & {*ids.tolist()}


@EXAMPLES
@given(text=LATIN)
def test_a_text_of_known_characters_survives_a_round_trip(tokenizers, text):
    ids = tokenizers["char"].encode(text)
    assert tokenizers["char"].decode(ids) == text
    assert len(ids) == len(text)


@EXAMPLES
@given(text=TEXTS)
def test_a_text_of_known_words_survives_a_round_trip(text):
    tokenizer = Word(sorted({one for words in split_words([text], False) for one in words}), ["<pad>"], False)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not {0, 1, 2} & {*ids.tolist()}


@pytest.mark.parametrize("kind", ["byte", "bpe", "unigram", "char", "word", "huggingface"])
@EXAMPLES
@given(text=LATIN, cuts=CUTS)
def test_a_text_in_pieces_has_the_ids_of_the_whole(tokenizers, kind, text, cuts):
    tokenizer = tokenizers[kind]
    pieces = [text[start:end] for start, end in pairwise([0, *cuts, max(len(text), *cuts, 0)])]
    assert "".join(pieces) == text
    ids = np.concatenate([np.empty(0, np.int64), *tokenizer.encode_pieces(pieces)])
    assert ids.tolist() == tokenizer.encode(text).tolist()


@EXAMPLES
@given(text=st.text("ab\n", max_size=40), cuts=CUTS, size=st.integers(1, 9))
def test_where_a_text_is_cut_into_stretches_does_not_depend_on_its_pieces(text, cuts, size):
    pieces = [text[start:end] for start, end in pairwise([0, *cuts, max(len(text), *cuts, 0)])]
    stretches = [*cut_at_lines(pieces, size)]
    assert "".join(stretches) == text
    assert stretches == [*cut_at_lines([text], size)]
    assert all(len(stretch) <= size for stretch in stretches)
    for stretch in stretches[:-1]:
        assert stretch.endswith("\n") or "\n" not in stretch


@pytest.mark.parametrize("kind", ["byte", "bpe", "unigram", "char", "word", "huggingface"])
def test_no_spelling_of_a_special_token_becomes_its_id(tokenizers, kind):
    tokenizer = tokenizers[kind]
    special = {i for i, piece in enumerate(tokenizer.pieces) if not piece}
    assert len(special) == {"char": 0, "word": 2}.get(kind, 1)
    for string in (
        "<s>",
        "</s> here",
        "<unk>",
        "a<|endoftext|>b",
        "<pad> and <mask>",
        "[PAD][CLS]",
        "<0x0A>",
    ):
        ids = tokenizer.encode(string).tolist()
        assert not special & {*ids}
        if kind != "word":
            assert tokenizer.decode(ids) == string


@pytest.mark.parametrize("kind", ["byte", "bpe", "unigram", "word", "huggingface"])
def test_a_product_has_an_end_for_each_document_whatever_these_spell(tokenizers, tmp_path, kind):
    texts = [*SPECIAL, "</s></s> <|endoftext|>", "\u0100"]
    source = Source("specials", lambda split: (Document(str(i), string) for i, string in enumerate(texts)))
    tokens = prepare_tokens(source, tokenizers[kind], tmp_path).train
    ends = np.flatnonzero(tokens.tokens == tokenizers[kind].separator)
    assert ends.tolist() == [*(tokens.documents[1:, 0] - 1), len(tokens.tokens) - 1]
    assert len(ends) == len(texts)


def test_words_are_counted_by_the_training_split_and_the_rest_is_unknown(tmp_path):
    documents = {"train": ["The cat, the cat.\n\n", "the dog"], "val": ["zebra zebra zebra"]}
    source = Source("words", lambda split: (Document(str(i), t) for i, t in enumerate(documents[split])))
    make = partial(word, source, tmp_path, specials=["<mask>"])
    words = make(min_freq=1, max_size=None, lowercase=False).words
    assert words == ["\n", " cat", " dog", " the", ",", ".", "The", "the"]
    assert make(min_freq=2, max_size=5, lowercase=True).words == ["\n", " cat"]
    tokenizer = make(min_freq=2, max_size=None, lowercase=True)
    assert tokenizer.words == ["\n", " cat", "the"]
    assert tokenizer.decode(tokenizer.encode("The cat\nzebra")) == "the cat\n<unk>"
    for wrong, sentence in (
        ({"min_freq": 9, "max_size": None}, r"tokenizer\.min_freq=9: no word of data=words is so frequent"),
        (
            {"min_freq": 1, "max_size": 3},
            r"tokenizer\.max_size=3: one word and the special tokens need 4 or more",
        ),
    ):
        with pytest.raises(ValueError, match=sentence):
            make(**wrong, lowercase=False)
    with pytest.raises(ValueError, match=r"tokenizer\.specials=.*</s> is there already"):
        word(source, tmp_path, 1, None, ["</s>"], False)


def test_prepare_tells_how_many_tokens_are_unknown(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRIAD_CACHE", str(tmp_path))
    documents = {"train": "to be or not to be", "val": "to see or not"}
    source = Source("words", lambda split: iter([Document("a", documents[split])]))
    words = {"min_freq": 1, "max_size": None, "specials": [], "lowercase": False}
    part = {"_target_": "triad.data.tokenizers.word.word", "_partial_": True} | words
    show_tokens(source, {"tokenizer": part})
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "unknown" in line] == [
        "unknown tokens of val: 1, so bits per byte leave some out"
    ]


def test_a_word_goes_on_over_pieces_marks_belong_to_it_and_a_long_one_is_cut():
    def split(*pieces, lowercase=False):
        return [one for words in split_words(pieces, lowercase) for one in words]

    assert split("Wör", "ter, e", "\u0301tude  x_1\n") == ["Wörter", ",", " e\u0301tude", " ", " x_1", "\n"]
    assert split("हिन्दी में") == ["हिन्दी", " में"]
    assert split("ΟΔΟΣ", " ΟΔΟΣ", lowercase=True) == ["οδος", " οδος"]
    assert [len(one) for one in split("a" * 250)] == [100, 100, 50]
    long = "seven7 " * 20_000  # is read in stretches, which end in words
    assert {*split(long)} == {"seven7", " seven7", " "}
    assert {*split(*(long[start : start + 999] for start in range(0, len(long), 999)))} == {*split(long)}


def test_a_tokenizer_that_no_run_could_read_back_is_refused_when_it_is_saved(tmp_path: Path) -> None:
    class Own(Byte):
        kind = "mine"

    with pytest.raises(ValueError, match="no module mine in triad/data/tokenizers reads it back"):
        Own().save(tmp_path / "tokenizer")
    assert not (tmp_path / "tokenizer").exists()
