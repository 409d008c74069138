"""Extractive question answering: find the answer to a question as a span of a text.

Shapes: B rows (windows of contexts), T time, U characters of a context, A ends of answers.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triad.layers.cross_entropy import IGNORED
from triad.layers.ranges import PositiveInt, UnitInterval
from triad.metrics.sums import compute_metrics, count_rows
from triad.models.classifier import TokenClassifier
from triad.tasks.body import start_body
from triad.tasks.likelihood import mean_loss
from triad.tasks.text_pairs import make_separator

OTHER, START, END = 0, 1, 2  # targets: what a token is, if it is no IGNORED one; of both START + END
LEAST = 8  # tokens of a row: three separators, and something of both texts
NOWHERE = -1  # in the place of characters: a token that is not of the context


class Answer(NamedTuple):
    """The likeliest span of a window and its score, and the score of there being no answer in it."""

    text: str
    score: float
    no_answer: float


class ExtractiveQA:
    """Predict where an answer starts and ends in a context.

        P(start = i) = exp(s . h_i) / sum_j exp(s . h_j),   and alike for the end
        loss = sum_rows -(log P(start) + log P(end)) / 2 / (number of rows in the global batch)
        Devlin et al. 2018 (BERT), arXiv:1810.04805, sections 4.2 and 4.3; the half is its published code's

    A row is separator, question, separator, a window of the context, separator. The sums run over the tokens
    of the context and the place of no answer: the first token or, of a model that sees the past, the last
    one. Windows of a long text begin `stride` tokens behind each other, or less where that would leave tokens
    out; one that has not the whole answer has no answer. A question is cut to `max_question` tokens, and to
    half of `context`.

    The answer is the text from the first character of token i to the last of token j, 0 <= j - i <
    max_answer, with the largest s_i + e_j of all windows. It is "" where the score of no answer, that of the
    window where it is lowest, is larger by more than `no_answer_threshold`; null: every question has an
    answer, as in SQuAD 1.1.

    Validation counts each question once, in the window with its answer (or the first, if it has none);
    `combine` judges all windows of a question. Raises ValueError for an answer that is not at its offset.
    """

    needs = {"model.sees": ("past", "both sides"), "data.yields": ("questions",)}
    predicts = "an answer"
    lower_is_better = ("loss",)
    replaces_head = True  # by one for start and end
    reads = ("tokens_BT", "targets_BT")
    judged_by = ("first_BT", "end_BT", "characters_BU", "character_spans_BA", "counted_B")
    start = staticmethod(start_body)

    def __init__(
        self,
        stride: PositiveInt,
        max_question: PositiveInt,
        max_answer: PositiveInt,
        no_answer_threshold: float | None,
        dropout: UnitInterval,
        tokenizer: Any,
        context: int,
        model_sees: str,
        metrics: dict[str, Any],
    ) -> None:
        if context < LEAST:
            raise ValueError(f"context={context}: a question and a text need context={LEAST} at least")
        self.separator, self.special_tokens = make_separator(tokenizer)
        self.stride, self.max_question, self.max_answer = stride, min(max_question, context // 2), max_answer
        self.no_answer_threshold, self.dropout, self.metrics = no_answer_threshold, dropout, metrics
        self.tokenizer, self.context = tokenizer, context
        self.no_answer_place = 0 if model_sees == "both sides" else -1

    def wrap(self, model: nn.Module) -> nn.Module:
        return TokenClassifier(model, 2, self.dropout, self.separator, bias=False)

    def encode(self, example: dict[str, Any]) -> list[dict[str, Any]]:
        """A row for each window of the context."""
        question = self.tokenizer.encode(example["question"]).tolist()[: self.max_question]
        head, spans = [self.separator, *question, self.separator], find_spans(example)
        tokens, first, end = self.tokenizer.encode_with_offsets(example["context"])
        first = _skip_blanks(example["context"], first, end)
        answer = _find_tokens(spans[0], first, end) if spans else None
        windows = [*cut_windows(len(tokens), self.context - len(head) - 1, self.stride)]
        holding = [answer is not None and w.start <= answer[0] and answer[1] < w.stop for w in windows]
        characters = np.frombuffer(example["context"].encode("utf-32-le"), np.uint32).tolist()
        rows = []
        for at, window in enumerate(windows):
            kinds = np.zeros(len(tokens[window]), int)
            if holding[at] and answer is not None:
                kinds[answer[0] - window.start] += START
                kinds[answer[1] - window.start] += END
            targets = [*[IGNORED] * len(head), *kinds.tolist(), IGNORED]
            targets[self.no_answer_place] = OTHER if holding[at] else START + END
            row = {"tokens_BT": [*head, *tokens[window].tolist(), self.separator], "targets_BT": targets}
            for name, places in (("first_BT", first), ("end_BT", end)):
                row[name] = [*[NOWHERE] * len(head), *places[window].tolist(), NOWHERE]
            row |= {"characters_BU": characters, "character_spans_BA": [*chain.from_iterable(spans)]}
            rows.append(row | {"counted_B": int(at == holding.index(max(holding)))})
        return rows

    def references(self, example: dict[str, Any]) -> list[str]:
        """The right answers; none of a question that has no answer."""
        return [answer["text"] for answer in example["answers"]]

    def inputs(self, batch: dict, draw: Callable) -> dict:
        """Each row has one start and one end."""
        return {"count": batch["rows"]}

    def loss(self, targets: Tensor, training: bool) -> Callable:
        return partial(span_sum, targets_BT=targets)

    def measure(
        self, model: Callable, tokens_BT: Tensor, targets_BT: Tensor, *judged: Tensor
    ) -> dict[str, Tensor]:
        logits_BT2 = model(tokens_BT)[0].double()
        *_, characters_BU, spans_BA, counted_B = judged
        answers = self._answer(logits_BT2, tokens_BT, *judged)
        predictions = [
            self.combine([answer]) if answer is not None and counted else None
            for answer, counted in zip(answers, counted_B.tolist(), strict=True)
        ]
        references = [
            [text[first:end] for first, end in zip(spans[::2], spans[1::2], strict=True) if first >= 0]
            for text, spans in zip(_read_texts(characters_BU), spans_BA.tolist(), strict=True)
        ]
        counted = count_rows(self.metrics, predictions, references)
        real_B = (targets_BT != IGNORED).any(-1)
        return {"nll": sum_loss(logits_BT2, targets_BT), "count": real_B.sum()} | counted

    def predict(
        self, model: Callable, tokens_BT: Tensor, targets_BT: Tensor, *judged: Tensor
    ) -> list[Answer | None]:
        """The likeliest span of each window; None of a row that is padding."""
        return self._answer(model(tokens_BT)[0].double(), tokens_BT, *judged)

    def _answer(
        self, logits_BT2: Tensor, tokens_BT: Tensor, first_BT: Tensor, end_BT: Tensor, *others: Tensor
    ) -> list[Answer | None]:
        score_B, start_B, stop_B = find_best_spans(logits_BT2, first_BT >= 0, self.max_answer)
        lengths_B = (tokens_BT >= 0).sum(-1)
        place_B1 = (self.no_answer_place % lengths_B.clamp_min(1))[:, None]
        no_answer_B = logits_BT2.sum(-1).gather(1, place_B1)[:, 0]
        first_B, end_B = first_BT.gather(1, start_B[:, None]), end_BT.gather(1, stop_B[:, None])
        columns = (lengths_B, first_B, end_B, score_B, no_answer_B)
        rows = zip(_read_texts(others[0]), *(column.flatten().tolist() for column in columns), strict=True)
        return [
            Answer(text[max(first, 0) : max(end, 0)], score, no_answer) if length else None
            for text, length, first, end, score, no_answer in rows
        ]

    def combine(self, predictions: list[Answer]) -> str:
        """The answer to a question, from those of its windows."""
        best, lowest = max(predictions, key=lambda one: one.score), min(one.no_answer for one in predictions)
        threshold = self.no_answer_threshold
        return "" if threshold is not None and lowest - best.score > threshold else best.text

    def figures(self, sums: dict[str, Tensor]) -> dict[str, float]:
        return {"loss": mean_loss(sums)} | compute_metrics(self.metrics, sums)

    def sample(
        self, model: nn.Module, row: tuple, length: int, vocab_size: int, **_: Any
    ) -> list[list[int] | str]:
        """The beginning of the row, and the likeliest span of it."""
        tokens_1T, targets_1T = row
        inside_1T = targets_1T != IGNORED
        inside_1T[:, self.no_answer_place % int((tokens_1T >= 0).sum())] = False
        best = find_best_spans(model(tokens_1T)[0], inside_1T, self.max_answer)
        words = [word for word in tokens_1T[0].tolist() if 0 <= word < vocab_size]
        answer = tokens_1T[0, int(best[1]) : int(best[2]) + 1].tolist()
        return ["question and context:", words[:length], "answer:", answer]


def find_spans(example: dict[str, Any]) -> list[tuple[int, int]]:
    """First characters of the answers and those behind them. ValueError for one that does not stand there."""
    spans = []
    for answer in example["answers"]:
        text, first = answer["text"], answer["answer_start"]
        if (there := example["context"][first : first + len(text)]) != text or first < 0:
            raise ValueError(
                f"question {example['id']}: the answer {text!r} is not at answer_start={first}, where the "
                f"context has {there!r}; offsets are counted in characters"
            )
        spans.append((first, first + len(text)))
    return spans


def cut_windows(tokens: int, room: int, stride: int) -> Iterator[slice]:
    """Windows of at most `room` tokens that begin `stride` tokens, or a window, behind each other."""
    first = 0
    while first + room < tokens:
        yield slice(first, first + room)
        first += min(stride, room)
    yield slice(first, tokens)


def _skip_blanks(text: str, first: np.ndarray, end: np.ndarray) -> np.ndarray:
    """First characters of tokens without the blanks that they begin with."""
    moved = first.copy()
    while len(blank := [at for at in np.flatnonzero(moved < end) if text[moved[at]].isspace()]):
        moved[blank] += 1
    return moved


def _find_tokens(span: tuple[int, int], first: np.ndarray, end: np.ndarray) -> tuple[int, int] | None:
    """The first and the last token that have characters of a span; None where no token has."""
    start, stop = int(np.searchsorted(end, span[0], "right")), int(np.searchsorted(first, span[1])) - 1
    return (start, stop) if start <= stop else None


def _read_texts(characters_BU: Tensor) -> list[str]:
    return ["".join(chr(code) for code in row if code >= 0) for row in characters_BU.tolist()]


def span_sum(hidden_BTD: Tensor, weight_2D: Tensor, bias_V: Tensor | None, targets_BT: Tensor) -> Tensor:
    """The loss of the head's logits, in the form in which a model calls a loss; a bias changes nothing."""
    return sum_loss(F.linear(hidden_BTD, weight_2D, bias_V), targets_BT)


def sum_loss(logits_BT2: Tensor, targets_BT: Tensor) -> Tensor:
    """Sum over rows of -(log P(start) + log P(end)) / 2, over the places that are not ignored."""
    real_B = (targets_BT != IGNORED).any(-1)
    out_BT1 = ((targets_BT == IGNORED) & real_B[:, None])[..., None]
    logits_BT2 = logits_BT2.to(torch.promote_types(logits_BT2.dtype, torch.float32))
    log_p_BT2 = logits_BT2.masked_fill(out_BT1, -torch.inf).log_softmax(1)
    kinds_BT = targets_BT.clamp_min(0)
    asked_BT2 = torch.stack((kinds_BT & START, kinds_BT & END), -1) > 0
    return -log_p_BT2.where(asked_BT2, 0).sum() / 2


def find_best_spans(logits_BT2: Tensor, inside_BT: Tensor, max_answer: int) -> tuple[Tensor, Tensor, Tensor]:
    """The largest s_i + e_j, i <= j < i + max_answer, of tokens inside the context, and its i and j."""
    start_BT, end_BT = logits_BT2.masked_fill(~inside_BT[..., None], -torch.inf).unbind(-1)
    ahead_BTL = F.pad(end_BT, (0, max_answer - 1), value=-torch.inf).unfold(1, max_answer, 1)
    score_B, place_B = (start_BT[..., None] + ahead_BTL).flatten(1).max(-1)
    start_B = place_B // max_answer
    stop_B = (start_B + place_B % max_answer).clamp_max(logits_BT2.shape[1] - 1)
    return score_B, start_B, stop_B
