"""Figures, comparisons and extreme rows of a report, and the forms that it is written in."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from triad.evaluation.report import to_latex, to_markdown, write_report
from triad.evaluation.scoring import (
    compare_systems,
    describe_prediction,
    draw_samples,
    find_figures,
    rank_rows,
    score_predictions,
)


class Length:
    """The mean difference in length."""

    lower_is_better = ("length",)
    size = 2

    def count(self, prediction: str, references: list[str]) -> list[float]:
        return [abs(len(prediction) - len(references[0])), 1]

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        return {"length": sums[0] / max(sums[1], 1)}


METRICS: dict[str, Any] = {"length": Length()}
REFERENCES = [["abc"], ["de"], ["f"], ["ghij"]]


def test_the_worst_row_comes_first_by_the_direction_of_the_figure() -> None:
    scored = score_predictions("a", METRICS, ["abc", "", "fffff", "g"], REFERENCES)
    figure, ranked = rank_rows(METRICS, scored, REFERENCES)
    assert figure == "length"
    assert ranked == [(2, 4.0), (3, 3.0), (1, 2.0), (0, 0.0)]


def test_labels_that_are_equally_right_are_ranked_by_the_probability_of_the_right_one() -> None:
    class Right:
        higher_is_better, size = ("right",), 1
        count = staticmethod(lambda shares, references: [float(shares.argmax() == references[0])])
        compute = staticmethod(lambda sums: {"right": float(sums[0])})

    shares = [np.array([0.6, 0.4]), np.array([0.9, 0.1]), np.array([0.1, 0.9]), np.array([0.7, 0.3])]
    references = [[0], [1], [0], [0]]
    scored = score_predictions("a", {"right": Right()}, shares, references)
    ranked = rank_rows({"right": Right()}, scored, references)[1]
    assert [row for row, _ in ranked[2:]] == [0, 3]
    assert {row for row, _ in ranked[:2]} == {1, 2}


def test_figures_have_intervals_and_one_row_alone_has_none() -> None:
    scored = score_predictions("a", METRICS, ["abc", "", "fffff", "g"], REFERENCES)
    figure = find_figures(METRICS, scored, 200, 0)["length"]
    assert figure["value"] == 9 / 4
    assert figure["low"] is not None
    assert 0 <= figure["low"] < figure["value"] < figure["high"] <= 4
    alone = score_predictions("a", METRICS, ["x"], [["xyz"]])
    assert find_figures(METRICS, alone, 200, 0)["length"] == {"value": 2, "low": None, "high": None}


def test_every_pair_of_systems_is_compared() -> None:
    texts = (["abc", "de", "f", "ghij"], ["", "", "", ""], ["abc", "de", "", ""])
    systems = [
        score_predictions(name, METRICS, text, REFERENCES) for name, text in zip("abc", texts, strict=True)
    ]
    compared = compare_systems(METRICS, systems, 100, 0)
    pairs = [(one["first"], one["second"], one["value"]) for one in compared]
    assert pairs == [("a", "b", 2.5), ("a", "c", 1.25), ("b", "c", -1.25)]
    assert all(one["low"] <= one["value"] <= one["high"] and 0 < one["p_value"] <= 1 for one in compared)


def test_predictions_are_shown_as_text() -> None:
    task = SimpleNamespace(labels=("yes", "no"), classes=("no", "yes"))  # grades: labels in another order
    assert describe_prediction(task, np.array([0.2, 0.8])) == "yes (0.80)"
    assert describe_prediction(task, ["B-PER", "O"]) == "B-PER O"
    assert describe_prediction(task, [(-2.0, 1, " a"), (-1.0, 1, " b")]) == "b"
    assert describe_prediction(task, []) == ""
    assert draw_samples(9, 3) == [0, 4, 8]
    assert draw_samples(2, 5) == [0, 1]


@pytest.fixture
def report() -> dict[str, Any]:
    figure = {"value": 0.5, "low": 0.25, "high": 0.75}
    example = {
        "row": 0,
        "score": 0.0,
        "input": "a | b\nc",
        "prediction": "x" * 300,
        "reference": "50 % & more",
    }
    return {
        "run": "run_1",
        "split": "test",
        "checkpoint": {"step": 1000, "weights": "ema"},
        "data": {"name": "labelled", "examples": 4, "left_out": 1, "seen": 2, "exclude_seen": False},
        "remembered": 3,
        "decoding": None,
        "signatures": {},
        "figures": {"macro_f1": figure},
        "baselines": {"majority": {"macro_f1": figure | {"value": 0.25}}},
        "comparisons": [figure | {"first": "a", "second": "b", "figure": "macro_f1", "p_value": 0.04}],
        "worst": [example],
        "best": [],
        "samples": [],
        "resamples": 1000,
        "seed": 1,
    }


def test_markdown_has_every_table_and_no_broken_row(report: dict[str, Any]) -> None:
    text = to_markdown(report)
    assert "| macro_f1 | 0.5 [0.25, 0.75] | 0.25 [0.25, 0.75] |" in text
    assert "| macro_f1 | a | b | 0.5 [0.25, 0.75] | 0.04 |" in text
    assert "a \\| b c" in text
    assert "x" * 200 + "..." in text
    assert "2 examples stand word for word in the training split" in text
    assert "1 examples make no row" in text
    assert "3 predictions are entries of the translation memory" in text
    assert "step 1,000, weights ema" in text


def test_latex_is_a_table_of_booktabs_with_its_characters_escaped(report: dict[str, Any]) -> None:
    text = to_latex(report)
    assert "figure & run\\_1 & majority \\\\\n\\midrule\nmacro\\_f1 & 0.5 [0.25, 0.75] &" in text
    assert text.count("\\begin{tabular}{lrr}") == text.count("\\end{tabular}") == 1
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert all(line.count("&") == 2 for line in body if line.endswith("\\\\"))


def test_the_json_is_the_report(report: dict[str, Any], tmp_path: Path) -> None:
    files = write_report(report, tmp_path / "evaluations" / "test-v1.0")
    assert [file.name for file in files] == ["test-v1.0.json", "test-v1.0.md", "test-v1.0.tex"]
    assert json.loads(files[0].read_text()) == report
