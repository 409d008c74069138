"""How well texts are predicted: perplexity and bits per byte, of a model and of counted n-grams."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from triad.analysis.kneser_ney import KneserNey
from triad.data.progress import show_progress
from triad.decoding.likelihood import TextScore, compute_perplexity, score_text
from triad.evaluation.system import System
from triad.tasks.likelihood import perplexity

ORDER = 5  # of the n-grams
COUNTED = 2_000_000  # tokens of training that are counted


class TextLikelihood:
    """Figures of texts, from their scores: a metric whose statistics are nats, tokens, words and bytes."""

    lower_is_better = ("bits_per_byte", "perplexity", "word_perplexity")
    size = 4

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        return compute_perplexity([TextScore(*sums.tolist())])


class HiddenTokens:
    """Figures of tokens that were hidden, from the sums of a task: nats, and the number of such tokens."""

    lower_is_better = ("loss", "perplexity")
    size = 2

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        return perplexity({"nll": sums[0], "count": sums[1]})


def score_texts(system: System, examples: list[dict[str, Any]], stride: int) -> np.ndarray:
    """The statistics of TextLikelihood of each text, by windows that overlap by context - stride."""
    model, tokenizer, context = system.model, system.tokenizer, system.config["context"]
    texts = [example["text"] for example in examples]
    tokens = sum(len(tokenizer.encode(text)) for text in texts)
    with system.computing(), show_progress("likelihood", tokens, "tokens") as advance:
        scores = [
            score_text(model, tokenizer, text, context=context, stride=stride, advance=advance)
            for text in texts
        ]
    return np.array(scores, float)


def score_hidden(system: System, examples: list[dict[str, Any]]) -> np.ndarray:
    """The statistics of HiddenTokens of each text, cut into rows of the context.

    Which tokens are hidden follows from the number of the row alone.
    """
    counted, first, context = [], 0, system.config["context"]
    texts = [system.tokenizer.encode(example["text"]).tolist() for example in examples]
    with show_progress("likelihood", sum(-(-len(tokens) // context) for tokens in texts), "rows") as advance:
        for tokens in texts:
            rows = [tokens[start : start + context] for start in range(0, len(tokens), context)]
            sums = system.measure([{"tokens_BT": row, "targets_BT": row} for row in rows], first, advance)
            counted.append([float(sums[name]) for name in ("nll", "count")] if rows else [0.0, 0.0])
            first += len(rows)
    return np.array(counted)


def score_ngrams(
    tokenizer: Any, training: Iterable[dict[str, Any]], examples: list[dict[str, Any]]
) -> np.ndarray:
    """The statistics of TextLikelihood by n-grams with modified Kneser-Ney smoothing, of the first tokens."""
    model = KneserNey(np.array([*_read_tokens(tokenizer, training)]), ORDER, tokenizer.vocab_size)
    scores = []
    for example in examples:
        start = [] if tokenizer.separator is None else [tokenizer.separator]
        ids = tokenizer.encode(example["text"])
        tokens, text = np.array([*start, *ids], np.int64), example["text"]
        unscored = 0 if start or not len(ids) else len(tokenizer.pieces[ids[0]])
        nats = model.nats(tokens)[-1]
        scores.append(TextScore(nats, len(tokens) - 1, len(text.split()), len(text.encode()) - unscored))
    return np.array(scores, float)


def _read_tokens(tokenizer: Any, training: Iterable[dict[str, Any]]) -> Iterator[int]:
    left = COUNTED
    end = [] if tokenizer.separator is None else [tokenizer.separator]
    for example in training:
        tokens = [*tokenizer.encode(example["text"]).tolist(), *end][:left]
        yield from tokens
        if not (left := left - len(tokens)):
            return
