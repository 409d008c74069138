"""Classification: predict the label of a document, or of two.

Shapes: B rows (documents) here, T time, C labels.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from triad.layers.cross_entropy import IGNORED
from triad.layers.full_attention import PADDING
from triad.layers.ranges import NonNegativeFloat, UnitInterval
from triad.metrics.sums import compute_metrics, count_rows
from triad.models.classifier import Classifier
from triad.tasks.body import start_body
from triad.tasks.likelihood import CrossEntropy, mean_loss
from triad.tasks.text_pairs import find_separator, join


class Classification:
    """Predict the label of a document, or of a pair of texts.

        loss = sum_rows -log p(label | x) / (number of rows in the global batch)

    The model is the body of a triad.models.classifier.Classifier, which also takes `pool` and `dropout`. Two
    texts are one row of the form of triad.tasks.text_pairs. Metrics read the probabilities of the labels.
    `weights` may come from a run with another task: its output layer is left out, and the new head is
    initialised from the seed.
    """

    needs = {"model.sees": ("past", "both sides"), "data.yields": ("labels", "labelled pairs")}
    predicts = "a label"
    lower_is_better = ("loss",)
    replaces_head = True  # by one for the labels
    reads = ("tokens_BT", "labels_B")
    start = staticmethod(start_body)

    def __init__(
        self,
        smoothing: UnitInterval,
        z_loss: NonNegativeFloat,
        pool: Callable | None,
        dropout: UnitInterval,
        labels: tuple[str, ...],
        tokenizer: Any,
        context: int,
        model_sees: str,
        metrics: dict[str, Any],
    ) -> None:
        if len(labels) < 2:
            raise ValueError(f"labels {', '.join(labels) or 'none'}: two at least are needed to tell apart")
        self.loss: Callable = CrossEntropy(smoothing, z_loss)
        self.pool, self.dropout, self.labels, self.metrics = pool, dropout, labels, metrics
        self.classes: Sequence[str] = labels  # in the order of what the model gives
        self.tokenizer, self.context = tokenizer, context
        self.separator, self.special_tokens = self._choose_separator(tokenizer, model_sees)

    def _choose_separator(self, tokenizer: Any, model_sees: str) -> tuple[int | None, int]:
        """The token between two texts, if there is one, and how many words it adds to the model."""
        return find_separator(tokenizer, model_sees), 0

    def wrap(self, model: nn.Module) -> nn.Module:
        return Classifier(model, len(self.labels), self.pool, self.dropout, separator=self.separator)

    def encode(self, example: dict[str, Any]) -> list[dict[str, Any]]:
        """The row of a text or of a pair of texts. Raises ValueError for a label that is not known."""
        row, cut = self._make_row([example["text"], *([example["second"]] if "second" in example else [])])
        return [{"tokens_BT": row, "labels_B": self._find_label(example), "cut": cut}]

    def _make_row(self, texts: Sequence[str]) -> tuple[list[int], int]:
        """The tokens of a text or of two, and how many are left out."""
        tokens = [self.tokenizer.encode(text).tolist() for text in texts]
        if len(texts) == 1:
            row, given = tokens[0][: self.context], len(tokens[0])
        elif self.separator is None:
            raise ValueError(
                f"tokenizer={self.tokenizer.kind} has no separator to put between two texts: use "
                "tokenizer=bpe, unigram, byte or word, or model=encoder"
            )
        else:
            row, given = join(*tokens, self.separator, self.context), sum(map(len, tokens)) + 2
        return row, given - len(row)

    @torch.no_grad()
    def classify(
        self, model: nn.Module, texts: str | Sequence[str | tuple[str, str]], batch_size: int = 32
    ) -> Any:
        """The probabilities of the labels of each text, or pair of texts, by label, the likeliest first.

        Of one text, only its own. For triad.load, whose models have it as `model.classify(texts)`.
        """
        if isinstance(texts, str):
            return self.classify(model, [texts])[0]
        device, found = next(model.parameters()).device, []
        for start in range(0, len(texts), batch_size):
            pairs = [[one] if isinstance(one, str) else one for one in texts[start : start + batch_size]]
            rows = [torch.tensor(self._make_row(pair)[0], dtype=torch.long) for pair in pairs]
            tokens_BT = pad_sequence(rows, batch_first=True, padding_value=PADDING).to(device)
            probabilities_BC = self.find_probabilities(model(tokens_BT)[0].double())
            for row in probabilities_BC.tolist():
                likeliest = sorted(range(len(row)), key=lambda at: -row[at])
                found.append({self.classes[at]: row[at] for at in likeliest})
        return found

    def _find_label(self, example: dict[str, Any]) -> int:
        if example["label"] not in self.labels:
            shown = f"{example['text'][:40]!r} has the label {example['label']!r}"
            raise ValueError(f"{shown}, which training never saw: its labels are {', '.join(self.labels)}")
        return self.labels.index(example["label"])

    def references(self, example: dict[str, Any]) -> list[int]:
        """The index of the label."""
        return [self._find_label(example)]

    def inputs(self, batch: dict, draw: Callable) -> dict:
        """Each row has one target."""
        return {"count": batch["rows"]}

    def measure(self, model: Callable, tokens_BT: Tensor, labels_B: Tensor) -> dict[str, Tensor]:
        logits_BC = model(tokens_BT)[0].double()
        counted = count_rows(
            self.metrics, self.read_rows(logits_BC, labels_B), [[label] for label in labels_B.tolist()]
        )
        return {"nll": self.sum_nll(logits_BC, labels_B), "count": (labels_B != IGNORED).sum()} | counted

    def predict(self, model: Callable, tokens_BT: Tensor, labels_B: Tensor) -> list[np.ndarray | None]:
        """The probabilities of the labels of each row."""
        return self.read_rows(model(tokens_BT)[0].double(), labels_B)

    def figures(self, sums: dict[str, Tensor]) -> dict[str, float]:
        return {"loss": mean_loss(sums)} | compute_metrics(self.metrics, sums)

    def sum_nll(self, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        """The summed negative log likelihood of the labels."""
        return F.cross_entropy(logits_BC, labels_B, ignore_index=IGNORED, reduction="sum")

    def find_probabilities(self, logits_BC: Tensor) -> Tensor:
        """The probabilities of the labels, [B, C]."""
        return logits_BC.softmax(-1)

    def read_rows(self, logits_BC: Tensor, labels_B: Tensor) -> list[np.ndarray | None]:
        """The probabilities of each row; None of one that is ignored."""
        rows = zip(self.find_probabilities(logits_BC).detach().cpu().numpy(), labels_B.tolist(), strict=True)
        return [probabilities_C if label != IGNORED else None for probabilities_C, label in rows]

    def sample(
        self, model: nn.Module, row: tuple, length: int, vocab_size: int, **_: Any
    ) -> list[list[int] | str]:
        """The prediction, the label and the beginning of the row."""
        tokens_1T, label_1 = row
        guess = self.labels[int(self.find_probabilities(model(tokens_1T)[0]).argmax())]
        words = [word for word in tokens_1T[0].tolist() if 0 <= word < vocab_size]
        return [f"guess {guess}, label {self.labels[int(label_1)]}:", words[:length]]
