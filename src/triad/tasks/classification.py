"""Classification: say what a document is.

Shapes: B rows (documents) here, T time, C labels.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_confusion_matrix

from triad.checkpoints.tensors import entries, start_part_from
from triad.layers.cross_entropy import IGNORED
from triad.models.classifier import Classifier
from triad.models.encoder import Encoder
from triad.optim.update import Update
from triad.tasks.causal_lm import CausalLM
from triad.tasks.masked_lm import MaskedLM

OF_WORDS = ("head.", "readout.", "transform.")  # what a language model has and a classifier's body has not


class Classification(CausalLM):
    """Train a model to tell the label of a document. Everything but the model's end is as in CausalLM.

        loss = sum_rows -log p(label | x) / (number of rows in the global batch)

    The model is the body of a triad.models.classifier.Classifier; `pool` and `dropout` are that one's.
    Validation counts each row once, in one table of labels and guesses for all processes, of which accuracy
    and macro-F1 follow exactly. `weights` may be a run's with another task: what tells words is left out,
    and the new head starts as the seed says. An encoder has the words of task=masked_lm, so as to take its
    weights.
    """

    needs = {"model.sees": ("past", "both sides"), "data.yields": ("labels",)}
    splits = ()  # a document is pooled where it was read
    reads = ("tokens_BT", "labels_B")

    def __init__(
        self,
        model: Callable[..., nn.Module],
        optimizer: Callable[..., torch.optim.Optimizer],
        schedule: Callable[[int], float],
        hardware: Any,
        vocab_size: int,
        bytes_per_token: float,
        seed: int,
        update: Update,
        weights: str | None,
        smoothing: float,
        z_loss: float,
        labels: tuple[str, ...],
        pool: Callable | None,
        dropout: float,
    ) -> None:
        super().__init__(
            model,
            optimizer,
            schedule,
            hardware,
            vocab_size,
            bytes_per_token,
            seed,
            update,
            weights,
            smoothing,
            z_loss,
        )
        if len(labels) < 2:
            raise ValueError(f"labels {', '.join(labels) or 'none'}: two at least are needed to tell apart")
        words = vocab_size + (MaskedLM.signs if getattr(model, "func", None) is Encoder else 0)
        body = partial(model, vocab_size=words)
        self.make_model = partial(classifier, body, len(labels), pool, dropout)
        self.labels = labels
        self.shown: tuple[Tensor, Tensor] | None = None  # a row of validation and its label

    def start(self, model: nn.Module, path: Path) -> None:
        """Take the weights of a classifier, or those of a language model for its body."""
        if any(name.startswith("body.") for name in entries(path)):
            super().start(model, path)
        else:
            part, bare = model.get_submodule("body"), self.bare().get_submodule("body")
            start_part_from(path, part, bare, absent=("pooler.",), unused=OF_WORDS)

    def prepared(self, batch: dict) -> dict:
        """Each row has one target."""
        return batch | {"count": batch["rows"]}

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self.table_CC = torch.zeros(
            len(self.labels), len(self.labels), dtype=torch.float64, device=self.device
        )

    def validation_step(self, batch: dict, index: int) -> None:
        for tokens_BT, labels_B in self.parts(batch):
            logits_BC = self.network(tokens_BT)[0].double()
            self.sums[0] += F.cross_entropy(logits_BC, labels_B, ignore_index=IGNORED, reduction="sum")
            self.table_CC += table(logits_BC, labels_B)
        self.sums[1] += (batch["labels_B"] != IGNORED).sum()
        if index == 0:
            self.shown = batch["tokens_BT"][:1], batch["labels_B"][:1]

    def on_validation_epoch_end(self) -> None:
        """Divide once, by the global counts."""
        total = self.trainer.strategy.total
        nll, count = total(self.sums).tolist()
        accuracy, macro_f1 = scores(total(self.table_CC))
        figures = {"val/loss": nll / max(count, 1), "val/accuracy": accuracy, "val/macro_f1": macro_f1}
        self.log_dict(figures, logger=False, sync_dist=True)

    def sample(
        self, model: nn.Module, prompt: list[int], tokens: int, context: int, temperature: float
    ) -> list[list[int] | str]:
        """The guess, the label and the beginning of the first row of validation."""
        assert self.shown is not None
        tokens_1T, label_1 = self.shown
        guess = self.labels[int(model(tokens_1T)[0].argmax())]
        words = [word for word in tokens_1T[0].tolist() if word >= 0]
        return [f"guess {guess}, label {self.labels[int(label_1)]}:", words[:tokens]]

    def code_length(self, split: str, nats_per_token: float) -> dict[str, float]:
        """None: a label codes no text."""
        return {}


def classifier(
    body: Callable[..., nn.Module], labels: int, pool: Callable | None, dropout: float, **changes: Any
) -> nn.Module:
    """A classifier of a body with some changes, such as another width."""
    return Classifier(body(**changes), labels, pool, dropout)


def table(logits_BC: Tensor, labels_B: Tensor) -> Tensor:
    """How often a label (row) was taken for another (column); rows that are ignored count nowhere."""
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
