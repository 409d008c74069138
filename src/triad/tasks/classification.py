"""Classification: predict the label of a document.

Shapes: B rows (documents) here, T time, C labels.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from triad.checkpoints.tensors import read_entries, start_from, start_part_from
from triad.layers.cross_entropy import IGNORED
from triad.layers.ranges import NonNegativeFloat, UnitInterval
from triad.metrics.sums import compute_metrics, count_rows
from triad.models.classifier import Classifier
from triad.tasks.likelihood import CrossEntropy, mean_loss

OF_WORDS = ("head.", "readout.", "transform.")  # parts of a language model that a classifier's body lacks


class Classification:
    """Predict the label of a document.

        loss = sum_rows -log p(label | x) / (number of rows in the global batch)

    The model is the body of a triad.models.classifier.Classifier, which also takes `pool` and `dropout`.
    Metrics read the probabilities of the labels. `weights` may come from a run with another task: its output
    layer is left out, and the new head is initialised from the seed.
    """

    needs = {"model.sees": ("past", "both sides"), "data.yields": ("labels",)}
    predicts = "a label"
    lower_is_better = ("loss",)
    replaces_head = True  # by one for the labels
    reads = ("tokens_BT", "labels_B")

    def __init__(
        self,
        smoothing: UnitInterval,
        z_loss: NonNegativeFloat,
        pool: Callable | None,
        dropout: UnitInterval,
        labels: tuple[str, ...],
        metrics: dict[str, Any],
    ) -> None:
        if len(labels) < 2:
            raise ValueError(f"labels {', '.join(labels) or 'none'}: two at least are needed to tell apart")
        self.loss = CrossEntropy(smoothing, z_loss)
        self.pool, self.dropout, self.labels, self.metrics = pool, dropout, labels, metrics

    def wrap(self, model: nn.Module) -> nn.Module:
        return Classifier(model, len(self.labels), self.pool, self.dropout)

    def start(self, path: Path, model: nn.Module, bare: nn.Module) -> None:
        """Load the weights of a classifier, or those of a language model into its body."""
        if any(name.startswith("body.") for name in read_entries(path)):
            start_from(path, model, bare)
        else:
            body, bare_body = model.get_submodule("body"), bare.get_submodule("body")
            start_part_from(path, body, bare_body, absent=("pooler.",), unused=OF_WORDS)

    def inputs(self, batch: dict, draw: Callable) -> dict:
        """Each row has one target."""
        return {"count": batch["rows"]}

    def measure(self, model: Callable, tokens_BT: Tensor, labels_B: Tensor) -> dict[str, Tensor]:
        logits_BC = model(tokens_BT)[0].double()
        nll = F.cross_entropy(logits_BC, labels_B, ignore_index=IGNORED, reduction="sum")
        references = [[label] for label in labels_B.tolist()]
        counted = count_rows(self.metrics, read_probabilities(logits_BC, labels_B), references)
        return {"nll": nll, "count": (labels_B != IGNORED).sum()} | counted

    def predict(self, model: Callable, tokens_BT: Tensor, labels_B: Tensor) -> list[np.ndarray | None]:
        """The probabilities of the labels of each row."""
        return read_probabilities(model(tokens_BT)[0].double(), labels_B)

    def figures(self, sums: dict[str, Tensor]) -> dict[str, float]:
        return {"loss": mean_loss(sums)} | compute_metrics(self.metrics, sums)

    def sample(self, model: nn.Module, row: tuple, length: int, **_: Any) -> list[list[int] | str]:
        """The prediction, the label and the beginning of the row."""
        tokens_1T, label_1 = row
        guess = self.labels[int(model(tokens_1T)[0].argmax())]
        words = [word for word in tokens_1T[0].tolist() if word >= 0]
        return [f"guess {guess}, label {self.labels[int(label_1)]}:", words[:length]]


def read_probabilities(logits_BC: Tensor, labels_B: Tensor) -> list[np.ndarray | None]:
    """The probabilities of the labels of each row; None of one that is ignored."""
    rows = zip(logits_BC.softmax(-1).cpu().numpy(), labels_B.tolist(), strict=True)
    return [probabilities_C if label != IGNORED else None for probabilities_C, label in rows]
