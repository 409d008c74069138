"""What holds of every metric: its figure does not depend on how rows are dealt."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.metrics.samples import GOLDS, GUESSES, LABELS, ROWS, make_metrics
from triad.metrics.accuracy import Accuracy
from triad.metrics.bleu import BLEU
from triad.metrics.f1 import F1
from triad.metrics.matthews import Matthews
from triad.metrics.sums import compute_metrics, count_rows

DEALT = [  # rows that lie on several ranks: those that were repeated to fill a batch would show
    ("ein roter Ball", "ein blauer Ball"),
    ("zwei Hunde spielen im Garten", "ein Hund spielt im Garten"),
    ("der Mann liest eine Zeitung", "der Mann liest eine Zeitung"),
    ("sie tanzt auf der Straße", "sie tanzt auf der Straße"),
    ("Kinder bauen eine hohe Sandburg", "Kinder bauen eine Sandburg"),
    ("ein Zug fährt vorbei", "ein Zug fährt vorbei"),
    ("die Sonne geht langsam unter", "die Sonne geht unter"),
]


def figures(metrics: dict, rows: list, ranks: int) -> dict[str, float]:
    """The figures of rows that are dealt to ranks, each filled up with rows that are none."""
    shares = []
    for rank in range(ranks):
        own = [*rows[rank::ranks], *[(None, [])] * 3]
        shares.append(count_rows(metrics, [row[0] for row in own], [row[1] for row in own]))
    sums = {name: torch.stack([share[name] for share in shares]).sum(0) for name in shares[0]}
    return compute_metrics(metrics, sums)


@pytest.mark.parametrize("predicts", ROWS)
def test_a_figure_is_the_same_on_every_number_of_ranks(predicts: str) -> None:
    metrics, rows = make_metrics(predicts), ROWS[predicts]
    alone = figures(metrics, rows, 1)
    assert len(alone) >= len(metrics) > 0
    for ranks in (2, 3, 8):
        assert figures(metrics, rows, ranks) == pytest.approx(alone, rel=1e-12, abs=0), ranks


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_no_row_is_counted_twice(ranks: int) -> None:
    labels = {"accuracy": Accuracy(), "f1": F1(LABELS, None), "matthews": Matthews(LABELS)}
    rows = [(np.eye(3)[guess], [gold]) for guess, gold in zip(GUESSES, GOLDS, strict=True)]
    found = figures(labels, rows, ranks)
    assert found["accuracy"] == pytest.approx(5 / 7, abs=1e-12)
    assert found["macro_f1"] == pytest.approx(0.7, abs=1e-12)
    assert found["matthews"] == pytest.approx(0.59375, abs=1e-12)
    texts = [(guess, [gold]) for guess, gold in DEALT]
    assert figures({"bleu": BLEU("13a", lowercase=False)}, texts, ranks)["bleu"] == pytest.approx(
        60.1973037327868, abs=1e-12
    )


def test_real_processes_with_uneven_rows_give_the_figures_of_one(warm) -> None:
    assert warm.launch([str(Path(__file__).parent / "dealt.py")], ranks=3) == 0


def test_equal_rows_both_count_and_a_metric_that_was_not_counted_has_no_figure() -> None:
    row = (np.array([0.2, 0.8]), [1])
    sums = count_rows({"accuracy": Accuracy()}, *zip(row, row, strict=True))
    assert {name: vector.tolist() for name, vector in sums.items()} == {"metrics/accuracy": [2, 2]}
    assert compute_metrics({"accuracy": Accuracy(), "bleu": BLEU("13a", lowercase=False)}, sums) == {
        "accuracy": 1.0
    }


def test_references_of_another_number_than_predictions_are_refused() -> None:
    with pytest.raises(ValueError, match="2 predictions and references of 1 rows: give one for each"):
        count_rows({"bleu": BLEU("13a", lowercase=False)}, ["a", "b"], [["a"]])
