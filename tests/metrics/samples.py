"""Rows for every metric of conf/metrics: predictions, and their references."""

from typing import Any

import numpy as np

from triad.config.build import build, supply
from triad.config.offers import read_choices

LABELS = ("a", "b", "c")
GUESSES, GOLDS = (0, 2, 2, 1, 2, 0, 1), (1, 0, 2, 1, 2, 0, 1)
TEXTS = [  # two equal rows, an empty hypothesis, an empty reference, lines
    ("ein roter Ball", "ein blauer Ball"),
    ("ein roter Ball", "ein blauer Ball"),
    ("", "ein Hund spielt im Garten"),
    ("der Mann liest eine Zeitung .", "der Mann liest eine Zeitung ."),
    ("Kinder bauen eine hohe Sandburg", "Kinder bauen eine Sandburg"),
    ("sie tanzt\nauf der Straße", "sie tanzt auf\nder Straße"),
    ("die Sonne geht langsam unter", ""),
]
TAGS = [("B-X I-X O", "B-X I-X O"), ("I-X O O", "B-X O O"), ("O B-Y", "B-X B-Y"), *[("O O", "B-Y I-Y")] * 4]
ROWS = {
    "a label": [(np.eye(3)[guess] * 0.7 + 0.1, [gold]) for guess, gold in zip(GUESSES, GOLDS, strict=True)],
    "a sequence": [(guess, [gold]) for guess, gold in TEXTS],
    "an answer": [(guess, [gold] if gold else []) for guess, gold in TEXTS],
    "tags": [(guess.split(), [gold.split()]) for guess, gold in TAGS],
}
ROWS["a grade"] = ROWS["a label"]


def make_metrics(predicts: str) -> dict[str, Any]:
    """All metrics that can judge what a task predicts, by name."""
    nodes = {name: node for parts in read_choices("metrics").values() for name, node in parts.items()}
    metrics = {name: supply(build(node), {"labels": LABELS}) for name, node in nodes.items()}
    return {name: metric for name, metric in metrics.items() if predicts in metric.needs["task.predicts"]}
