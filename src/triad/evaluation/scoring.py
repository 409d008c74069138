"""Predictions scored: the statistics of each row, figures with intervals, comparisons, extreme rows.

A row is an example. S statistics of a metric, N rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from triad.data.progress import track
from triad.metrics.bootstrap import compare_paired, confidence_intervals
from triad.metrics.sums import compute_row, count_each


@dataclass
class Scored:
    """Rows of one system or baseline: predictions, and the statistics of each, [N, S] by metric."""

    name: str
    predictions: list[Any]
    rows_NS: dict[str, np.ndarray] = field(repr=False)


def score_predictions(
    name: str, metrics: Mapping[str, Any], predictions: list[Any], references: list[list[Any]]
) -> Scored:
    """The statistics of each prediction."""
    rows = [*zip(predictions, references, strict=True)]
    counted = {
        key: count_each(metric, track(rows, f"{key} of {name}", len(rows), "rows"))
        for key, metric in metrics.items()
    }
    return Scored(name, predictions, counted)


def find_figures(
    metrics: Mapping[str, Any], scored: Scored, resamples: int, seed: int
) -> dict[str, dict[str, float | None]]:
    """Each figure with its interval; without one where a single row is all there is."""
    figures: dict[str, dict[str, float | None]] = {}
    for key, rows_NS in scored.rows_NS.items():
        if len(rows_NS) > 1:
            found = confidence_intervals(metrics[key], rows_NS, resamples=resamples, seed=seed)
            figures |= {name: interval._asdict() for name, interval in found.items()}
        else:
            values = metrics[key].compute(rows_NS.sum(0))
            figures |= {name: {"value": value, "low": None, "high": None} for name, value in values.items()}
    return figures


def compare_systems(
    metrics: Mapping[str, Any], systems: list[Scored], resamples: int, seed: int
) -> list[dict[str, Any]]:
    """The paired bootstrap test of each pair of systems: the difference of the second to the first."""
    found = []
    for first, second in combinations(systems, 2):
        for key, metric in metrics.items():
            rows = first.rows_NS[key], second.rows_NS[key]
            for figure, comparison in compare_paired(metric, *rows, resamples=resamples, seed=seed).items():
                found.append(
                    {"first": first.name, "second": second.name, "figure": figure}
                    | comparison.difference._asdict()
                    | {"p_value": comparison.p_value}
                )
    return found


def rank_rows(
    metrics: Mapping[str, Any], scored: Scored, references: list[list[Any]] | None
) -> tuple[str, list[tuple[int, float]]]:
    """The first figure of the first metric, and the rows by it, worst first: number and figure of each.

    Rows with labels that have the same figure are ranked by the probability of the right label.
    """
    key, metric = next(iter(metrics.items()))
    figure, is_higher = find_figure(metric)
    values = [compute_row(metric, row_S)[figure] for row_S in scored.rows_NS[key]]
    surety = [0.0] * len(values)
    if references and all(isinstance(one, np.ndarray) for one in scored.predictions):
        pairs = zip(scored.predictions, references, strict=True)
        surety = [float(shares_C[label]) for shares_C, (label,) in pairs]
    sign = 1 if is_higher else -1
    order = sorted(range(len(values)), key=lambda row: (sign * values[row], surety[row]))
    return figure, [(row, values[row]) for row in order]


def find_figure(metric: Any) -> tuple[str, bool]:
    """The figure of a metric that stands for it, and whether a higher one is better."""
    if higher := getattr(metric, "higher_is_better", ()):
        return higher[0], True
    return metric.lower_is_better[0], False


def draw_samples(examples: int, samples: int) -> list[int]:
    """Numbers of examples, evenly spread."""
    return np.linspace(0, examples - 1, min(samples, examples)).round().astype(int).tolist()


def describe_prediction(task: Any, prediction: Any) -> str:
    """A prediction as text: of probabilities the likeliest label, of choices the likeliest of each."""
    if isinstance(prediction, np.ndarray):
        label = int(prediction.argmax())
        return f"{task.classes[label]} ({prediction[label]:.2f})"
    if isinstance(prediction, list) and isinstance(next(iter(prediction), None), tuple):
        _, _, choice = max(prediction)
        return choice.strip()
    return " ".join(map(str, prediction)) if isinstance(prediction, list) else str(prediction)


def describe_references(task: Any, references: list[Any], example: dict[str, Any]) -> str:
    """What a prediction was compared with, as text."""
    if "choices" in example:
        return example["choices"][references[0]]
    for name in ("label", "canonical_solution"):
        if name in example:
            return str(example[name])
    texts = (" ".join(one) if isinstance(one, list) else str(one) for one in references)
    return " / ".join(texts)


def describe_input(example: dict[str, Any]) -> str:
    """What a model read of an example, as text."""
    read: dict[str, Callable[[Any], str]] = {
        "messages": lambda messages: " | ".join(message["content"] for message in messages[:-1]),
        "words": " ".join,
        "question": str,
        "draft": str,
        "source": str,
        "prompt": str,
        "text": str,
    }
    name = next((name for name in read if name in example), None)
    return read[name](example[name]) if name else ""
