"""Metrics of rows that lie on several processes: statistics of each row are summed, and computed from once.

A metric is an object of this part, one file and one YAML of conf/metrics, with

    size                            how many numbers `count` returns
    count(prediction, references)   the statistics of one row, to be added up over rows, processes, resamples
    compute(sums)                   its figures, by name, of the sums; of zeros, too
    higher_is_better                names of its figures, or lower_is_better

and optionally what CONTRIBUTING.md names. By the task's `predicts` a prediction and its references are

    "a label", "a grade"   probabilities of the classes; [the class]
    "tags"                 names of the tags of the words; [such names]
    "a sequence"           a text; texts
    "an answer"            a text; texts, or [] where the question has no answer
    "a program"            texts of programs; [what tests them]

A sum over rows is the same however they are dealt, so a figure is the same on every number of processes; a
row that pads a batch is no row.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

PREFIX = "metrics/"  # of their sums, among those of a task


def count_rows(
    metrics: Mapping[str, Any], predictions: Sequence[Any], references: Sequence[Any]
) -> dict[str, Tensor]:
    """The summed statistics of some rows, fp64, for each metric; zeros where no row is.

    A prediction of None stands for a row that pads its batch. Raises ValueError where predictions and
    references are not equally many.
    """
    if len(predictions) != len(references):
        raise ValueError(
            f"{len(predictions)} predictions and references of {len(references)} rows: give one for each"
        )
    rows = [pair for pair in zip(predictions, references, strict=True) if pair[0] is not None]
    return {
        PREFIX + name: torch.from_numpy(count_each(metric, rows).sum(0)) for name, metric in metrics.items()
    }


def count_each(metric: Any, rows: Iterable[tuple[Any, Any]]) -> np.ndarray:
    """The statistics of each row, [rows, size] of fp64."""
    counted = [metric.count(prediction, references) for prediction, references in rows]
    return np.array(counted, float).reshape(-1, metric.size)


def compute_metrics(metrics: Mapping[str, Any], sums: Mapping[str, Tensor]) -> dict[str, float]:
    """The figures of all metrics that were counted, by name, from the sums of all processes."""
    figures: dict[str, float] = {}
    for name, metric in metrics.items():
        if PREFIX + name in sums:
            figures |= metric.compute(sums[PREFIX + name].numpy())
    return figures


def compute_row(metric: Any, statistics: np.ndarray) -> dict[str, float]:
    """The figures of one row's statistics, for tables of samples; their mean is not the figure of all rows.

    A metric whose figure of few words says nothing has a `compute_row` of its own, as BLEU has.
    """
    return getattr(metric, "compute_row", metric.compute)(statistics)
