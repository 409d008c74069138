"""Tagging: predict a tag for each word, such as the spans of names. Shapes: B rows, T time, C tags."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from triad.layers.cross_entropy import IGNORED
from triad.layers.ranges import NonNegativeFloat, UnitInterval
from triad.metrics.sums import compute_metrics, count_rows
from triad.models.classifier import TokenClassifier
from triad.tasks.body import start_body
from triad.tasks.likelihood import CrossEntropy, mean_loss


class Tagging:
    """Predict the tag of each word of a sentence.

        loss = sum_words -log p(tag | h_i) / (number of words in the global batch)
        Devlin et al. 2018 (BERT), arXiv:1810.04805, section 5.3

    i is the first token of the word. Deviates for a model that sees the past, where i is the last one, which
    has seen the whole word. A sentence of more than `context` tokens is several rows, each of whole words,
    and a word of more tokens than that is cut. In validation a row counts as a sentence; `combine` joins the
    tags of a sentence's rows. Raises ValueError for a tag that training never saw, or for tags that are not
    as many as the words.
    """

    needs = {"model.sees": ("past", "both sides"), "data.yields": ("tags",)}
    predicts = "tags"
    lower_is_better = ("loss",)
    replaces_head = True  # by one for the tags
    reads = ("tokens_BT", "targets_BT")
    start = staticmethod(start_body)

    def __init__(
        self,
        smoothing: UnitInterval,
        z_loss: NonNegativeFloat,
        dropout: UnitInterval,
        labels: tuple[str, ...],
        tokenizer: Any,
        context: int,
        model_sees: str,
        metrics: dict[str, Any],
    ) -> None:
        if len(labels) < 2:
            raise ValueError(f"tags {', '.join(labels) or 'none'}: two at least are needed to tell apart")
        self.loss = CrossEntropy(smoothing, z_loss)
        self.dropout, self.labels, self.metrics = dropout, labels, metrics
        self.tokenizer, self.context = tokenizer, context
        self.place = 0 if model_sees == "both sides" else -1  # of the token that stands for a word

    def wrap(self, model: nn.Module) -> nn.Module:
        return TokenClassifier(model, len(self.labels), self.dropout)

    def encode(self, example: dict[str, Any]) -> list[dict[str, Any]]:
        """Rows of whole words, as few as hold the sentence."""
        rows: list[dict[str, Any]] = []
        for tokens, tag in zip(self._split(example["words"]), self._find_tags(example), strict=True):
            if not rows or len(rows[-1]["tokens_BT"]) + len(tokens) > self.context:
                rows.append({"tokens_BT": [], "targets_BT": []})
            targets = [IGNORED] * len(tokens)
            targets[self.place] = tag
            rows[-1]["tokens_BT"] += tokens
            rows[-1]["targets_BT"] += targets
        return rows

    def _split(self, words: list[str]) -> Iterator[list[int]]:
        """The tokens of each word, with the blank before it."""
        for at, word in enumerate(words):
            tokens = self.tokenizer.encode(f" {word}" if at else word).tolist()[: self.context]
            if not tokens and self.tokenizer.unknown is None:
                kind = self.tokenizer.kind
                raise ValueError(f"tokenizer={kind} makes no token of the word {word!r}: use tokenizer=byte")
            yield tokens or [self.tokenizer.unknown]

    def _find_tags(self, example: dict[str, Any]) -> list[int]:
        words, tags = example["words"], example["tags"]
        if len(words) != len(tags):
            shown = " ".join(words)[:40]
            raise ValueError(f"{shown!r}: {len(words)} words have {len(tags)} tags; give one for each")
        for tag in tags:
            if tag not in self.labels:
                shown, known = " ".join(words)[:40], ", ".join(self.labels)
                raise ValueError(
                    f"{shown!r} has the tag {tag!r}, which training never saw: its tags are {known}"
                )
        return [self.labels.index(tag) for tag in tags]

    def references(self, example: dict[str, Any]) -> list[list[str]]:
        """The tags of the words."""
        return [example["tags"]]

    def inputs(self, batch: dict, draw: Callable) -> dict:
        """The rows as they are."""
        return {}

    def measure(self, model: Callable, tokens_BT: Tensor, targets_BT: Tensor) -> dict[str, Tensor]:
        logits_BTC = model(tokens_BT)[0].double()
        nll = F.cross_entropy(logits_BTC.flatten(0, 1), targets_BT.flatten(), reduction="sum")
        references = [[tags] for tags in self._name(targets_BT, targets_BT)]
        counted = count_rows(self.metrics, self._name(logits_BTC.argmax(-1), targets_BT), references)
        return {"nll": nll, "count": (targets_BT != IGNORED).sum()} | counted

    def predict(self, model: Callable, tokens_BT: Tensor, targets_BT: Tensor) -> list[list[str] | None]:
        """The tags of each row's words; None of a row that is padding."""
        return self._name(model(tokens_BT)[0].argmax(-1), targets_BT)

    def _name(self, tags_BT: Tensor, targets_BT: Tensor) -> list[list[str] | None]:
        rows = zip(tags_BT.cpu(), (targets_BT != IGNORED).cpu(), strict=True)
        return [[self.labels[tag] for tag in tags_T[asked_T].tolist()] or None for tags_T, asked_T in rows]

    def combine(self, predictions: list[list[str]]) -> list[str]:
        """The tags of a sentence, from those of its rows."""
        return [tag for tags in predictions for tag in tags]

    def figures(self, sums: dict[str, Tensor]) -> dict[str, float]:
        return {"loss": mean_loss(sums)} | compute_metrics(self.metrics, sums)

    def sample(self, model: nn.Module, row: tuple, length: int, **_: Any) -> list[str]:
        """The predicted tags of the row's first words, and the right ones."""
        tokens_1T, targets_1T = row
        guesses, right = self.predict(model, tokens_1T, targets_1T)[0], self._name(targets_1T, targets_1T)[0]
        return [
            f"{name}: {' '.join((tags or [])[:length])}"
            for name, tags in (("guess", guesses), ("tags", right))
        ]
