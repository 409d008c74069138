"""BLEU, chrF and TER of rows that are summed, against sacrebleu's score of the corpus."""

import random

import numpy as np
import pytest
import sacrebleu

from triad.metrics.bleu import BLEU
from triad.metrics.chrf import ChrF
from triad.metrics.exact_match import ExactMatch
from triad.metrics.meteor import Meteor
from triad.metrics.rouge import Rouge
from triad.metrics.sums import compute_row, count_each
from triad.metrics.ter import TER

SHORT = [  # hypotheses and references: shorter than four words, an empty one
    ("Ein Hund rennt über die nasse Wiese .", "Ein Hund läuft über die nasse Wiese ."),
    ("Zwei Kinder", "Zwei Kinder"),
    ("Bergsteiger", "Kletterer"),
    ("", "Eine Frau liest Zeitung ."),
    (
        "Der Mann im roten Mantel wartet auf den letzten Bus .",
        "Ein Mann im roten Mantel wartet auf den letzten Bus des Tages .",
    ),
]
CHINESE = [  # a line separator within a hypothesis, and spaces at its end
    ("他昨天在 GitHub 上提交了3个补丁。", "他昨天在GitHub上提交了3个补丁。"),
    ("这只猫\u2028睡在窗台上。", "这只猫睡在窗台上。"),
    ("会议推迟到下周三，", "会议推迟到下个星期三。"),
    ("两个孩子在公园里踢球。   ", "两个孩子正在公园里踢足球。"),
]
METRICS = [
    (BLEU("13a", False), sacrebleu.BLEU()),
    (BLEU("zh", False), sacrebleu.BLEU(tokenize="zh")),
    (BLEU("char", False), sacrebleu.BLEU(tokenize="char")),
    (BLEU("13a", True), sacrebleu.BLEU(lowercase=True)),
    (ChrF(0), sacrebleu.CHRF()),
    (ChrF(2), sacrebleu.CHRF(word_order=2)),
    (TER(False), sacrebleu.TER()),
    (TER(True), sacrebleu.TER(normalized=True, asian_support=True)),
]


def score(metric, rows) -> float:
    return next(iter(metric.compute(count_each(metric, rows).sum(0)).values()))


def draw_rows(seed: int, references: int) -> list[tuple[str, list[str]]]:
    draw, words = (
        random.Random(seed),
        [
            "der",
            "die",
            "das",
            "ein",
            "Haus",
            ",",
            "rot",
            ",",
            "rote",
            "Katze",
            "sitzt",
            "auf",
            "dem",
            "Baum",
            ".",
        ],
    )
    text = lambda: " ".join(draw.choice(words) for _ in range(draw.randint(0, 12)))  # noqa: E731
    return [(text(), [text() for _ in range(references)]) for _ in range(25)]


@pytest.mark.parametrize(("ours", "theirs"), METRICS, ids=lambda metric: type(metric).__name__)
def test_the_score_of_summed_rows_is_sacrebleus_to_the_last_digit(ours, theirs) -> None:
    pairs = [[(guess, [gold]) for guess, gold in rows] for rows in (SHORT, CHINESE, [("", ""), ("a", "")])]
    for rows in (*pairs, draw_rows(0, 1), draw_rows(1, 3)):
        streams = [*zip(*(references for _, references in rows), strict=True)]
        expected = theirs.corpus_score([guess for guess, _ in rows], streams)
        assert score(ours, rows) == expected.score


def test_an_empty_hypothesis_is_a_row_and_no_mean_of_sentences_is_taken() -> None:
    rows = [(guess, [gold]) for guess, gold in SHORT]
    assert count_each(BLEU("13a", False), rows).sum(0).tolist() == [
        22,
        29,
        19,
        14,
        10,
        8,
        22,
        18,
        15,
        13,
    ]  # by hand
    assert score(BLEU("13a", False), rows) == pytest.approx(52.70791643325086, abs=1e-12)
    assert score(ChrF(0), rows) == pytest.approx(64.36611851249005, abs=1e-12)
    assert score(TER(False), rows) == pytest.approx(34.48275862068966, abs=1e-12)
    chinese = [(guess, [gold]) for guess, gold in CHINESE]
    assert score(BLEU("zh", False), chinese) == pytest.approx(76.365460219526, abs=1e-12)
    assert score(BLEU("13a", False), chinese) == 0.0


def test_a_sentence_of_two_words_is_scored_over_the_orders_that_it_has() -> None:
    bleu = BLEU("13a", False)
    rows = [compute_row(bleu, np.array(bleu.count(guess, [gold])))["bleu"] for guess, gold in SHORT]
    sentence = sacrebleu.BLEU(effective_order=True)
    assert rows == [sentence.sentence_score(guess, [gold]).score for guess, gold in SHORT]
    assert rows[1] == pytest.approx(100)
    assert score(BLEU("13a", False), [(SHORT[1][0], [SHORT[1][1]])]) == 0.0
    assert compute_row(TER(False), np.array([1.0, 3.0])) == {"ter": pytest.approx(100 / 3)}


def test_the_signature_names_how_text_is_cut_and_the_references_of_a_row() -> None:
    bleu, version = BLEU("zh", False), sacrebleu.__version__
    count_each(bleu, [("a", ["a"])])
    assert bleu.signature == f"nrefs:1|case:mixed|eff:no|tok:zh|smooth:exp|version:{version}"
    count_each(bleu, [("a", ["a", "b"])])
    assert bleu.signature.startswith("nrefs:var|")
    assert ChrF(0).signature == f"nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{version}"
    assert TER(False).signature == f"nrefs:1|case:lc|tok:tercom|norm:no|punct:yes|asian:no|version:{version}"


def test_the_reference_of_a_question_without_answer_is_the_empty_text() -> None:
    for metric in (BLEU("13a", False), ChrF(0), TER(False), Rouge(False), Meteor(None), ExactMatch()):
        assert list(metric.count("a", [])) == list(metric.count("a", [""]))
    assert ExactMatch().count("", []) == (1.0, 1.0)
