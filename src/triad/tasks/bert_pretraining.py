"""BERT's pre-training: hidden words, and whether one text follows another.

Shapes: B rows (pairs of texts) here, T time, U = T + 3.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triad.checkpoints.tensors import start_part_from
from triad.layers.cross_entropy import IGNORED
from triad.layers.ranges import NonNegativeFloat, PositiveInt, UnitInterval
from triad.models.next_sentence_encoder import NextSentenceEncoder
from triad.tasks.body import HEADS
from triad.tasks.likelihood import perplexity
from triad.tasks.masked_lm import MaskedLM

FOLLOWS, IS_RANDOM = 0, 1  # as in BERT's published code
RELATIONS = ("follows", "is random")
REMEMBERED = 1024  # texts of which second texts are drawn
READOUT = ("transform.", "readout.")


class BertPretraining:
    """Predict hidden tokens of two texts, and whether the second followed the first or is another's.

        loss = mean_{i hidden} -log p(x_i | rest) + mean_rows -log p(follows or not | C)
        Devlin et al. 2018 (BERT), arXiv:1810.04805, section 3.1 and appendix A.2

    Both means are over the global batch. A row is separator, first text, separator, second text, separator;
    the first separator is [CLS], whose state gives C, and no separator is hidden. Rows are made once: a
    document is cut where a random number says, and for half of the rows the second text is one of the 1,024
    texts before, the rest of the document being read on later. Deviates: texts are cut between tokens and
    not between sentences, and none is kept short on purpose. Tokens are hidden as in MaskedLM, others at
    each reading. Raises ValueError for a tokenizer without a separator.
    """

    needs = {"model.sees": ("both sides",), "model.pooler": (None,), "data.yields": ("text",)}
    makes_rows = ("text",)
    predicts = "its tokens"
    lower_is_better = ("loss", "perplexity")
    per_token = ("loss", "perplexity")
    higher_is_better = ("next_sentence_accuracy",)
    reads = ("tokens_BT", "segments_BT", "targets_BU")
    special_tokens = 1

    def __init__(
        self,
        smoothing: UnitInterval,
        z_loss: NonNegativeFloat,
        share: UnitInterval,
        masked: UnitInterval,
        random: UnitInterval,
        whole_words: bool,
        vocab_size: PositiveInt,
        tokenizer: Any,
        context: int,
    ) -> None:
        if tokenizer.separator is None:
            raise ValueError(
                f"tokenizer={tokenizer.kind} has no separator to put between two texts: use tokenizer=bpe, "
                "unigram, byte or word"
            )
        if context < 5:
            raise ValueError(f"context={context}: two texts and three separators need context=5 at least")
        self.words = MaskedLM(smoothing, z_loss, share, masked, random, whole_words, vocab_size, tokenizer)
        self.tokenizer, self.room = tokenizer, context - 3
        self.before: list[np.ndarray] = []

    def wrap(self, model: nn.Module) -> nn.Module:
        return NextSentenceEncoder(model)

    def start(self, path: Path, model: nn.Module, bare: nn.Module) -> None:
        """Load the weights of a run of this task, or of one that has hidden words only."""
        unused = tuple(name for name in HEADS if name not in (*READOUT, "next_sentence."))
        start_part_from(path, model, bare, absent=("next_sentence.",), unused=unused)

    def encode(self, example: dict[str, Any]) -> list[dict[str, Any]]:
        """The rows of a document: which they are depends on the documents before it, too."""
        return [self._make_row(*pair) for pair in self._pair(self.tokenizer.encode(example["text"]))]

    def _pair(self, tokens: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        random, at = Random(tokens.tobytes()), 0
        while at + 1 < len(tokens):
            text = tokens[at : at + self.room]
            cut = random.randint(1, len(text) - 1)
            if self.before and random.random() < 0.5:
                other = random.choice(self.before)
                first = random.randint(0, max(len(other) - (self.room - cut), 0))
                yield text[:cut], other[first : first + self.room - cut], IS_RANDOM
                at += cut
            else:
                yield text[:cut], text[cut:], FOLLOWS
                at += len(text)
        self._remember(tokens, random)

    def _remember(self, tokens: np.ndarray, random: Random) -> None:
        for at in range(0, len(tokens), self.room):
            if len(self.before) == REMEMBERED:
                self.before[random.randrange(REMEMBERED)] = tokens[at : at + self.room]
            else:
                self.before.append(tokens[at : at + self.room])

    def _make_row(self, first: np.ndarray, second: np.ndarray, relation: int) -> dict[str, Any]:
        end = self.tokenizer.separator
        return {
            "tokens_BT": [end, *first.tolist(), end, *second.tolist(), end],
            "segments_BT": [*[0] * (len(first) + 2), *[1] * (len(second) + 1)],
            "labels_B": relation,
        }

    def inputs(self, batch: dict, draw: Callable) -> dict:
        """Hide tokens of the texts. Behind the targets stand the label, and the numbers of both."""
        tokens_BT, segments_BT = batch["tokens_BT"], batch["segments_BT"]
        outside_BT = (tokens_BT == self.tokenizer.separator) | (tokens_BT < 0)
        texts = {"tokens_BT": tokens_BT, "targets_BT": tokens_BT.masked_fill(outside_BT, IGNORED)}
        if "lengths_R" in batch:
            texts["lengths_R"] = (batch["lengths_R"] - 3).clamp_min(0)
        hidden = self.words.inputs(texts, draw)
        count, rows = int(hidden.get("count", 1)), batch["rows"]  # numbers of a step of training
        numbers_B2 = torch.tensor([count, rows], device=tokens_BT.device).expand(len(tokens_BT), 2)
        targets = hidden["targets_BT"], batch["labels_B"][:, None], numbers_B2
        return {
            "tokens_BT": tokens_BT.where(outside_BT, hidden["tokens_BT"]),
            "segments_BT": segments_BT.clamp_min(0),
            "targets_BU": torch.cat(targets, 1),
            "count": count,
        }

    def loss(self, targets: Tensor, training: bool) -> Callable:
        return partial(self._sum_loss, targets, training)

    def _sum_loss(
        self, targets_BU: Tensor, training: bool, hidden_BTD: Tensor, weight_VD: Tensor, **options: Any
    ) -> Tensor:
        """A sum of which the count of hidden tokens makes the sum of both means."""
        targets_BT, labels_B, count, rows = _split(targets_BU)
        relation_B2 = options.pop("relation_B2")
        words = self.words.loss(targets_BT, training)(hidden_BTD, weight_VD, **options)
        return words + _sum_nll(relation_B2, labels_B) * (count / rows)

    def measure(
        self, model: Callable, tokens_BT: Tensor, segments_BT: Tensor, targets_BU: Tensor
    ) -> dict[str, Tensor]:
        targets_BT, labels_B, *_ = _split(targets_BU)

        def count(hidden_BTD: Tensor, weight_VD: Tensor, relation_B2: Tensor, **options: Any) -> tuple:
            return self.words.loss(targets_BT, False)(hidden_BTD, weight_VD, **options), relation_B2

        (nll, relation_B2), _ = model(tokens_BT, segments_BT, loss=count)
        return {
            "nll": nll,
            "count": (targets_BT != IGNORED).sum(),
            "relation_nll": _sum_nll(relation_B2, labels_B),
            "right": (relation_B2.argmax(-1) == labels_B).sum(),
            "rows": (labels_B != IGNORED).sum(),
        }

    def sample(
        self, model: nn.Module, row: tuple, length: int, vocab_size: int, **_: Any
    ) -> list[list[int] | str]:
        """The predicted relation and the right one; the row with predictions in place of hidden words."""
        tokens_1T, segments_1T, targets_1U = row
        targets_1T, label_1 = _split(targets_1U)[:2]
        (logits_1TV, relation_12), _ = model(tokens_1T, segments_1T)
        words_1T = logits_1TV[..., :vocab_size].argmax(-1).where(targets_1T != IGNORED, tokens_1T)
        guess, label = (RELATIONS[int(place)] for place in (relation_12.argmax(), label_1))
        words = [word for word in words_1T[0].tolist() if 0 <= word < vocab_size]
        return [f"guess {guess}, label {label}:", words[:length]]

    def figures(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """The loss of both, the perplexity of hidden tokens, and how often the relation is right."""
        words, rows = perplexity(sums), max(float(sums["rows"]), 1)
        return {
            "loss": words["loss"] + float(sums["relation_nll"]) / rows,
            "perplexity": words["perplexity"],
            "next_sentence_accuracy": float(sums["right"]) / rows,
        }


def _split(targets_BU: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Targets, labels, and how many there are of each in the global batch."""
    targets_BT, (label_B, count_B, rows_B) = targets_BU[:, :-3], targets_BU[:, -3:].unbind(-1)
    return targets_BT, label_B, count_B[0], rows_B[0]


def _sum_nll(relation_B2: Tensor, labels_B: Tensor) -> Tensor:
    relation_B2 = relation_B2.to(torch.promote_types(relation_B2.dtype, torch.float32))
    return F.cross_entropy(relation_B2, labels_B, ignore_index=IGNORED, reduction="sum")
