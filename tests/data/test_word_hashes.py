"""Words and n-grams as hashes."""

import re

import numpy as np
import pytest

from triad.data import word_hashes
from triad.data.word_hashes import classify_letters, classify_spaced, fold, hash_ngrams, hash_words

TEXTS = [
    "",
    " \n\t ",
    "one",
    "a bb  a\nccc a\u00a0bb",
    "河边的旧桥 old 桥a",
    "ไทย lao ລາວ",
    "かな カナ 한국어 단어",
    "हिन्दी शब्द",
    "... -- x",
    "e\u0301 é 👩\u200d🔬",
]
SPACELESS = r"[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u312f\u3400-\u9fff]"


def split(text: str) -> list[str]:
    return re.findall(rf"{SPACELESS}|(?:(?!{SPACELESS})\S)+", text)


def test_words_are_what_stands_between_blanks_and_characters_of_scripts_without_spaces() -> None:
    hashes, counts = hash_words(TEXTS, classify_spaced())
    words = [word for text in TEXTS for word in split(text)]
    assert counts.tolist() == [len(split(text)) for text in TEXTS]
    assert len(set(zip(words, hashes.tolist(), strict=True))) == len(set(words)) == len(set(hashes.tolist()))


def test_a_word_has_one_hash_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"{n} {n % 7}ab " for n in range(400))
    whole, counts = hash_words(["x y", text], classify_spaced())
    monkeypatch.setattr(word_hashes, "AT_ONCE", 64)  # long texts are cut
    cut, cut_counts = hash_words(["x y", text], classify_spaced())
    assert (whole == cut).all()
    assert counts.tolist() == cut_counts.tolist() == [2, 800]
    assert len(set(whole.tolist())) == len(set(text.split())) + 2


def test_a_long_text_without_blanks_is_cut_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_hashes, "AT_ONCE", 1 << 11)
    assert hash_words(["x" * 5000], classify_spaced())[1].tolist() == [3]
    assert hash_words(["桥" * 5000], classify_spaced())[1].tolist() == [5000]


def test_letters_alone_count_whatever_quotes_case_blanks_and_format_characters_do() -> None:
    written = "It's  “SPOON”, left—in a_pot: 1,000\u00a0ｗｉｄｅ ﬁsh"
    plain = "it’s spo\u00adon left\nin a pot\u200b | 1 000 wi\u2060de fish\ufe0f"
    hashes, counts = hash_words([fold(written), fold(plain)], classify_letters())
    assert counts.tolist() == [11, 11]
    assert (hashes[:11] == hashes[11:]).all()
    assert hash_words([fold("... | — \u200b"), "\u00ad"], classify_letters())[1].tolist() == [0, 0]
    composed, apart = (
        hash_words([fold(text)], classify_letters())[0] for text in ("é हिन्दी", "e\u0301 हिन्दी")
    )
    assert (composed == apart).all()
    assert len(composed) == 2


def test_ngrams_are_alike_where_their_words_are() -> None:
    words, _ = hash_words(["a b c a b c b a"], classify_spaced())
    for n in (1, 2, 3, 8):
        ngrams = hash_ngrams(words, n)
        letters = ["a", "b", "c", "a", "b", "c", "b", "a"]
        there = [tuple(letters[k : k + n]) for k in range(8 - n + 1)]
        assert len(set(zip(there, ngrams.tolist(), strict=True))) == len(set(there))
        assert len(np.unique(ngrams)) == len(set(there))
    assert len(hash_ngrams(words, 9)) == 0
