"""ROUGE of rows that are summed, against rouge-score's own mean of documents."""

from importlib.metadata import version

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer

from triad.metrics.rouge import KINDS, Rouge
from triad.metrics.sums import count_each

DOCUMENTS = [  # the last two differ in their newlines only
    (
        "The council approved the bridge.\nWork starts in May.\nTolls will pay for it.",
        ["Work on the bridge starts in May.\nThe council approved tolls.\nDrivers will pay for it."],
    ),
    (
        "Sales rose again. Profits were falling.",
        ["The falls of profits continue. Sales were rising again."],
    ),
    (
        "Sales rose again.\nProfits were falling.",
        ["The falls of profits continue.\nSales were rising again."],
    ),
]


@pytest.mark.parametrize(("stemming", "rouge1"), [(False, 2 / 3), (True, 34 / 45)])
def test_lines_are_the_sentences_of_rouge_lsum_and_stems_are_cut_only_if_asked(stemming, rouge1) -> None:
    metric = Rouge(stemming=stemming)
    found = metric.compute(count_each(metric, DOCUMENTS).sum(0))
    assert found["rouge1"] == pytest.approx(rouge1, abs=1e-12)
    assert found["rouge2"] == pytest.approx(4 / 21, abs=1e-12)
    assert found["rougeL"] == pytest.approx(0.4, abs=1e-12)
    assert found["rougeLsum"] == pytest.approx(26 / 45, abs=1e-12)
    assert metric.signature == (
        f"rouge-score:{version('rouge-score')}|stem:{'yes' if stemming else 'no'}|sentences:lines"
    )


def test_of_several_references_the_best_one_counts_for_each_kind() -> None:
    references = ["Sales were rising again.", "Profits fell again", ""]
    metric, scorer = Rouge(stemming=False), RougeScorer([*KINDS])
    each = [scorer.score(reference, "Profits fell and sales rose") for reference in references]
    expected = [max(score[kind].fmeasure for score in each) for kind in KINDS]
    assert metric.count("Profits fell and sales rose", references) == [*expected, 1.0]
    assert metric.count("", ["words"]) == [0.0, 0.0, 0.0, 0.0, 1.0]
    assert metric.compute(np.zeros(5)) == dict.fromkeys(KINDS, 0.0)
