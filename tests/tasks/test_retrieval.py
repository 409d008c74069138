"""Passages that BM25 finds for a question."""

import math
import sys
from collections import Counter

import numpy as np
import pytest

from triad.data.passages import Passages, cut_passages, find_words
from triad.tasks.retrieval import Retrieval

TEXTS = [
    "The cat sat on the mat, and the cat slept.",
    "A dog barked at the cat.",
    "Rain fell on the hills; rain, rain.",
    "",
    "The mat was red.",
]


def naive(question: str, texts: list[str], k1: float = 1.5, b: float = 0.75) -> list[float]:
    """The equation, word by word."""
    words = [find_words(text) for text in texts]
    mean = sum(map(len, words)) / len(words)
    scores = []
    for passage in words:
        counts, score = Counter(passage), 0.0
        for word in find_words(question):
            n = sum(word in other for other in words)
            idf = math.log(1 + (len(words) - n + 0.5) / (n + 0.5))
            score += idf * counts[word] / (counts[word] + k1 * (1 - b + b * len(passage) / mean))
        scores.append(score)
    return scores


@pytest.mark.parametrize("question", ["Where did the CAT sleep?", "rain rain mat", "zebra", "", "the"])
def test_scores_are_those_of_the_equation(question: str) -> None:
    np.testing.assert_allclose(Passages(TEXTS).score(question), naive(question, TEXTS), rtol=1e-5, atol=1e-6)


def test_the_best_passages_come_first_and_equal_ones_in_their_order() -> None:
    assert Passages(TEXTS).find("rain", 1) == [TEXTS[2]]
    assert Passages(TEXTS).find("the red mat", 2) == [TEXTS[4], TEXTS[0]]
    assert Passages(TEXTS).find("zebra", 3) == TEXTS[:3]
    assert Passages(["...", "!"]).find("what?", 1) == ["..."]
    assert Passages(["same words", "same words", "same"]).find("words", 2) == ["same words"] * 2


def test_passages_have_so_many_words_and_lose_none() -> None:
    text = "  one two\nthree  four five\n"
    assert cut_passages(text, 2) == ["one two", "three  four", "five"]
    assert cut_passages("", 5) == []


def test_a_source_is_the_question_and_what_is_found_in_its_context_or_in_a_folder(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("Bees make honey. " * 20)
    (tmp_path / "b.txt").write_text("Cows give milk. " * 20)
    example = {
        "question": "Who gives milk?",
        "context": "Goats give milk here. Hens lay eggs daily.",
        "answers": [{"text": "Goats", "answer_start": 0}, {"text": "goats", "answer_start": 0}],
    }
    own = Retrieval(None, top_k=1, passage_words=4)
    assert own(example) == (["Who gives milk?", "Goats give milk here."], "Goats", ["Goats", "goats"])
    assert own(example | {"answers": []})[1:] == ("", [])
    others = Retrieval(str(tmp_path), top_k=2, passage_words=3)
    assert others(example).source == ["Who gives milk?", "Cows give milk.", "Cows give milk."]
    before = others.contents
    (tmp_path / "b.txt").write_text("Cows gave milk.")
    assert Retrieval(str(tmp_path), 2, 3).contents != before
    with pytest.raises(FileNotFoundError, match=r"task\.pairs\.passages"):
        Retrieval(str(tmp_path / "c"), 2, 3)(example)


def test_without_bm25s_one_sentence_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(ValueError, match="bm25s: pip install bm25s, or the extra eval"):
        Passages(TEXTS).find("rain", 1)
