"""METEOR, against nltk's: without WordNet, and with a small one."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.meteor_score import meteor_score

from triad.metrics.meteor import Meteor, count_chunks
from triad.metrics.sums import count_each

PAIRS = [
    ("our old clock stopped at noon", "our old clock stopped at noon", 0.9976851851851852),
    ("the dog saw", "the dog saw the bird near the barn", 0.3407407407407408),
    ("he likes running", "he liked to run", 0.6552706552706553),
    ("Rain fell", "snow melted", 0.0),
    ("", "a quiet evening", 0.0),
    ("on the table the book lies", "the book lies on the table", 0.7106481481481481),
]
WHOLE = SimpleNamespace(stem=str)
LINES = ["big large huge", "run sprint dash", "dash hyphen"]
WORDS = st.sampled_from(
    [
        "the",
        "a",
        "big",
        "large",
        "Huge",
        "dash",
        "run",
        "running",
        "runs",
        "sprint",
        "hyphen",
        "dog",
        "dogs",
        "sat",
    ]
)
TEXTS = st.lists(WORDS, max_size=14).map(" ".join)


def wordnet(*lines: str) -> SimpleNamespace:
    """What nltk asks of WordNet: each line is a set of synonyms."""

    def lemma(word: str) -> SimpleNamespace:
        return SimpleNamespace(name=lambda: word)

    def synsets(word: str) -> list[SimpleNamespace]:
        found = [line.split() for line in lines if word in line.split()]
        return [
            SimpleNamespace(lemmas=lambda words=words: [lemma(word) for word in words]) for words in found
        ]

    return SimpleNamespace(synsets=synsets)


def test_words_are_aligned_from_the_right_as_nltk_does() -> None:
    metric = Meteor(None)
    rows = [(guess, [gold]) for guess, gold, _ in PAIRS]
    scores = count_each(metric, rows)
    assert scores[:, 0].tolist() == pytest.approx([expected for *_, expected in PAIRS], abs=1e-12)
    assert metric.compute(scores.sum(0))["meteor"] == pytest.approx(0.4507241215574549, abs=1e-12)


def test_the_paper_would_choose_fewer_chunks() -> None:
    guess, gold = ["the", "dog", "saw"], ["the", "dog", "saw", "the", "bird", "near", "the", "barn"]
    assert Meteor(None).align(guess, gold) == [(0, 6), (1, 1), (2, 2)]
    assert count_chunks([(0, 6), (1, 1), (2, 2)]) == 2
    assert count_chunks([(0, 0), (1, 1), (2, 2)]) == 1


@settings(deadline=None)
@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=3))
def test_the_score_is_nltks_with_and_without_synonyms(guess: str, references: list[str]) -> None:
    tokens, metric = [reference.split() for reference in references], Meteor(None)
    expected = meteor_score(tokens, guess.split(), wordnet=wordnet())
    assert metric.count(guess, references)[0] == pytest.approx(expected, abs=1e-12)
    metric.synonyms, metric.stemmer = TABLE, WHOLE  # nltk would look up the stems of words
    expected = meteor_score(tokens, guess.split(), stemmer=WHOLE, wordnet=wordnet(*LINES))
    assert metric.count(guess, references)[0] == pytest.approx(expected, abs=1e-12)


TABLE = {
    word: {other for line in LINES if word in line.split() for other in line.split()}
    for line in LINES
    for word in line.split()
}


def test_synonyms_are_the_words_of_one_line_of_a_file(tmp_path) -> None:
    path = tmp_path / "synonyms.txt"
    path.write_text("\n".join(LINES).replace("big", "Big"))
    metric = Meteor(synonyms=str(path))
    assert metric.synonyms == TABLE
    assert "synonyms:yes" in metric.signature
    assert metric.count("a huge dog", ["a big dog"])[0] > Meteor(None).count("a huge dog", ["a big dog"])[0]
    with pytest.raises(ValueError, match="no such file; each of its lines has words"):
        Meteor(synonyms=str(tmp_path / "other.txt"))


def test_text_is_cut_as_bleu_cuts_it() -> None:
    assert (
        Meteor(None).count("The dog sat.", ["the dog, sat ."])[0]
        == Meteor(None).count("the dog sat .", ["the dog , sat ."])[0]
    )
