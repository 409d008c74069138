"""Classification: predict the label of a document.

Shapes: B rows (documents) here, T time, C labels.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_confusion_matrix

from triad.checkpoints.tensors import read_entries, start_from, start_part_from
from triad.layers.cross_entropy import IGNORED
from triad.layers.ranges import NonNegativeFloat, UnitInterval
from triad.models.classifier import Classifier
from triad.tasks.likelihood import CrossEntropy, mean_loss

OF_WORDS = ("head.", "readout.", "transform.")  # parts of a language model that a classifier's body lacks


class Classification:
    """Predict the label of a document.

        loss = sum_rows -log p(label | x) / (number of rows in the global batch)

    The model is the body of a triad.models.classifier.Classifier, which also takes `pool` and `dropout`.
    Validation counts each row once, in one confusion table for all processes, from which accuracy and
    macro-F1 follow exactly. `weights` may come from a run with another task: its output layer is left out,
    and the new head is initialised from the seed.
    """

    needs = {"model.sees": ("past", "both sides"), "data.yields": ("labels",)}
    predicts = "a label"
    lower_is_better = ("loss",)
    higher_is_better = ("accuracy", "macro_f1")
    replaces_head = True  # by one for the labels
    reads = ("tokens_BT", "labels_B")

    def __init__(
        self,
        smoothing: UnitInterval,
        z_loss: NonNegativeFloat,
        pool: Callable | None,
        dropout: UnitInterval,
        labels: tuple[str, ...],
    ) -> None:
        if len(labels) < 2:
            raise ValueError(f"labels {', '.join(labels) or 'none'}: two at least are needed to tell apart")
        self.loss = CrossEntropy(smoothing, z_loss)
        self.pool, self.dropout, self.labels = pool, dropout, labels

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
        return {
            "nll": nll,
            "count": (labels_B != IGNORED).sum(),
            "table_CC": confusion_table(logits_BC, labels_B),
        }

    def figures(self, sums: dict[str, Tensor]) -> dict[str, float]:
        accuracy, macro_f1 = scores(sums["table_CC"])
        return {"loss": mean_loss(sums), "accuracy": accuracy, "macro_f1": macro_f1}

    def sample(self, model: nn.Module, row: tuple, length: int, **_: Any) -> list[list[int] | str]:
        """The prediction, the label and the beginning of the row."""
        tokens_1T, label_1 = row
        guess = self.labels[int(model(tokens_1T)[0].argmax())]
        words = [word for word in tokens_1T[0].tolist() if word >= 0]
        return [f"guess {guess}, label {self.labels[int(label_1)]}:", words[:length]]


def confusion_table(logits_BC: Tensor, labels_B: Tensor) -> Tensor:
    """How often a label (row) was predicted as another (column), without ignored rows."""
    labels = logits_BC.shape[-1]
    return multiclass_confusion_matrix(logits_BC.argmax(-1), labels_B, labels, ignore_index=IGNORED)


def scores(table_CC: Tensor) -> tuple[float, float]:
    """Accuracy and macro-F1 of a table of labels and guesses.

    F1 of a label = 2 right / (its rows + its guesses); macro-F1 is the mean over labels that occur in either
    """
    right_C, seen_C = table_CC.diagonal(), table_CC.sum(0) + table_CC.sum(1)
    f1_C = (2 * right_C / seen_C)[seen_C > 0]
    accuracy = right_C.sum() / table_CC.sum().clamp_min(1)
    return float(accuracy), float(f1_C.mean()) if len(f1_C) else 0.0
