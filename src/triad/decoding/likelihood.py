"""The probability that a model gives to texts: of a continuation, and of a whole text by a sliding window.

Shapes: B rows, S source time, T time, N targets that are scored, D width, V vocabulary.
"""

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triad.data.progress import Advance
from triad.data.tokenizers.tokenizer import Tokenizer
from triad.layers.cross_entropy import IGNORED, WHOLE, Vocabulary
from triad.layers.full_attention import PADDING

LOGITS_AT_ONCE = 2**23  # numbers, 32 MiB of fp32: not those of all targets of a batch
Side = Literal["left", "right"]
Window = Literal["inputs", "targets"]


class Row(NamedTuple):
    """Tokens of which those from `first` on are scored, each given those before it and the source, if any."""

    tokens: list[int]
    first: int
    source: list[int] = []  # never changed


class Score(NamedTuple):
    """Nats of a continuation, the number of its tokens, and whether each is the likeliest at its place.

    `left_out` is the number of tokens of the context, from its beginning, that do not fit into the model's.
    """

    log_probability: float
    tokens: int
    greedy: bool
    left_out: int


class TextScore(NamedTuple):
    """-log p of a text in nats, and how many tokens were scored, how many words and bytes of UTF-8 it has."""

    nats: float
    tokens: int
    words: int
    bytes: int


def score_continuations(
    model: nn.Module,
    tokenizer: Tokenizer,
    pairs: Sequence[tuple[str, str]],
    *,
    context: int,
    batch_size: int = 16,
    padding: Side = "right",
    advance: Advance | None = None,
) -> list[Score]:
    """log p(continuation | context) of each pair of texts, for a model that predicts the next token.

        log p = sum over the tokens t of the continuation of log softmax(logits)_t, in fp32 at least

    Both texts are tokenised as one; a token belongs to the continuation if it ends behind the boundary, so
    that one which spans it is scored. The tokenizer's separator stands once before them, where there is one.
    `context` is the model's: of a longer pair the beginning is left out, and counted. `advance` is called
    with the numbers of tokens that have been scored. Raises ValueError for a continuation that is longer, for
    one without a token, and for an empty context without separator.
    """
    rows, cut = [], []
    for before, continuation in pairs:
        tokens, first = tokenize_pair(tokenizer, before, continuation)
        left_out = max(0, len(tokens) - 1 - context)
        if left_out >= first:
            raise ValueError(
                f"{continuation[:40]!r}: a continuation of {len(tokens) - first:,} tokens does not fit into"
                f" context={context}"
            )
        rows.append(Row(tokens[left_out:], first - left_out))
        cut.append(left_out)
    scored = score_rows(model, rows, batch_size=batch_size, padding=padding, advance=advance)
    return [
        Score(math.fsum(nats), len(nats), greedy, left_out)
        for (nats, greedy), left_out in zip(scored, cut, strict=True)
    ]


def tokenize_pair(tokenizer: Tokenizer, context: str, continuation: str) -> tuple[list[int], int]:
    """The separator and the tokens of both texts, and the place of the continuation's first token.

    Raises ValueError as score_continuations.
    """
    ids, _, ends = tokenizer.encode_with_offsets(context + continuation)
    start = [] if tokenizer.separator is None else [tokenizer.separator]
    tokens = [*start, *ids.tolist()]
    first = len(start) + int((ends <= len(context)).sum())
    if first == len(tokens):
        raise ValueError(f"continuation {continuation[:40]!r}: the tokenizer makes no token of it")
    if first == 0:
        raise ValueError(
            f"{continuation[:40]!r}: nothing stands before its first token, as this vocabulary has no"
            " separator; give a context"
        )
    return tokens, first


def score_text(
    model: nn.Module,
    tokenizer: Tokenizer,
    text: str,
    *,
    context: int,
    stride: int,
    window: Window = "inputs",
    batch_size: int = 16,
    advance: Advance | None = None,
) -> TextScore:
    """-log p of a text that may be longer than the context, by windows that overlap by context - stride.

    The separator stands once before the text; without one its first token has nothing before it, and neither
    it nor its bytes are counted. `window` and `advance` as of `score_windows`.
    """
    ids = tokenizer.encode(text).tolist()
    start = [] if tokenizer.separator is None else [tokenizer.separator]
    scored = score_windows(
        model,
        [*start, *ids],
        context=context,
        stride=stride,
        window=window,
        separator=tokenizer.separator,
        batch_size=batch_size,
        advance=advance,
    )
    unscored = 0 if start or not ids else len(tokenizer.pieces[ids[0]])
    return TextScore(-math.fsum(scored), len(scored), len(text.split()), len(text.encode()) - unscored)


def score_windows(
    model: nn.Module,
    tokens: Sequence[int],
    *,
    context: int,
    stride: int,
    window: Window = "inputs",
    separator: int | None = None,
    batch_size: int = 16,
    advance: Advance | None = None,
) -> list[float]:
    """log p of each token but the first, once, given those before it in its window.

    A window is moved on by `stride` tokens and scores those that the ones before it have not. With `window`
    "inputs" it has `context` inputs, which predict as many targets, one further; with "targets", which is how
    Hugging Face's guide to perplexity has it, the `context` tokens hold the targets, so that one fewer is
    read. There, with stride = context, a window's first token has nothing before it but the `separator`.
    `advance` is called with the numbers of tokens that have been scored.
    Raises ValueError for a stride outside 1 to context, and where that separator is needed and is None.
    """
    if not 1 <= stride <= context:
        raise ValueError(f"stride={stride}: at least 1 and at most context={context}")
    size, scored, rows = context + (window == "inputs"), 1, []
    for begin in range(0, len(tokens), stride):
        if scored >= len(tokens):
            break
        held = list(tokens[begin : begin + size])
        if scored == begin:
            if separator is None:
                raise ValueError(
                    f"stride={stride}: a window's first token has nothing before it, as this vocabulary has"
                    f" no separator; lower stride below context={context} or use window=inputs"
                )
            held = [separator, *held]
        rows.append(Row(held, max(1, scored - begin)))
        scored = begin + size
    scored_rows = score_rows(model, rows, batch_size=batch_size, advance=advance)
    return [nats for found, _ in scored_rows for nats in found]


def compute_perplexity(scores: Iterable[TextScore]) -> dict[str, float]:
    """Perplexity of tokens and of words, and bits per byte, of all texts together.

        perplexity = exp(nats / tokens)    word perplexity = exp(nats / words)
        bits per byte = nats / (ln 2 * bytes of the original UTF-8)

    Words are what blanks separate. NaN where nothing is counted, as of an empty text.
    """
    nats, tokens, words, size = (sum(column) for column in zip(*scores, strict=True))
    return {
        "perplexity": _exp(_divide(nats, tokens)),
        "word_perplexity": _exp(_divide(nats, words)),
        "bits_per_byte": _divide(nats, math.log(2) * size),
    }


def _divide(nats: float, count: float) -> float:
    return nats / count if count else math.nan


def _exp(nats: float) -> float:
    return math.inf if nats >= 700 else math.exp(nats)  # of NaN: NaN


@torch.no_grad()
def score_rows(
    model: nn.Module,
    rows: Sequence[Row],
    *,
    batch_size: int = 16,
    padding: Side = "right",
    advance: Advance | None = None,
) -> list[tuple[list[float], bool]]:
    """log p of each scored token of each row, and whether all of these are the likeliest at their places.

    The rows of a batch are padded at one side; those of like length are computed together.
    """
    device = next(model.parameters()).device
    found: list[tuple[list[float], bool]] = [([], True)] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].tokens), reverse=True)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = [rows[i] for i in chosen]
        inputs, targets_BT = _make_batch(batch, padding, device)
        (nats_N, likeliest_N), _ = model(*inputs, loss=partial(_score_targets, targets_BT=targets_BT))
        counts = [len(row.tokens) - row.first for row in batch]
        pieces = zip(chosen, nats_N.split(counts), likeliest_N.split(counts), strict=True)
        found_now = [(i, nats.tolist(), bool(likeliest.all())) for i, nats, likeliest in pieces]
        for i, nats, likeliest in found_now:
            found[i] = nats, likeliest
        if advance:
            advance(sum(counts))
    return found


def _make_batch(rows: list[Row], padding: Side, device: torch.device) -> tuple[list[Tensor], Tensor]:
    """The model's arguments, and targets_BT that are IGNORED where nothing is scored."""
    inputs = [row.tokens[:-1] for row in rows]
    targets = [[IGNORED] * (row.first - 1) + row.tokens[row.first :] for row in rows]
    given = [_pad(inputs, PADDING, padding, device)]
    if any(row.source for row in rows):
        given.insert(0, _pad([row.source for row in rows], PADDING, "right", device))
    elif padding == "left":
        # the padding is a document of its own, which the row does not see, and behind which positions restart
        length = given[0].shape[1]
        places = [[0] * (length - len(row)) + [length - len(row)] * len(row) for row in inputs]
        given.append(torch.tensor(places, device=device))
    return given, _pad(targets, IGNORED, padding, device)


def _pad(rows: list[list[int]], value: int, side: Side, device: torch.device) -> Tensor:
    padded_BT = nn.utils.rnn.pad_sequence(
        [torch.tensor(row, dtype=torch.long) for row in rows],
        batch_first=True,
        padding_value=value,
        padding_side=side,
    )
    return padded_BT.to(device)


def _score_targets(
    hidden_BTD: Tensor,
    weight_VD: Tensor,
    targets_BT: Tensor,
    vocabulary: Vocabulary = WHOLE,
    bias_V: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """log p of the targets that are not IGNORED, row by row, and whether each has the largest logit."""
    asked_BT = targets_BT != IGNORED
    hidden_ND, targets_N = hidden_BTD[asked_BT], targets_BT[asked_BT]
    nats, likeliest = [], []
    chunk = max(1, LOGITS_AT_ONCE // len(weight_VD))
    for hidden, target in zip(hidden_ND.split(chunk), targets_N.split(chunk), strict=True):
        logits = F.linear(hidden, weight_VD, bias_V)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        nats.append(logits.log_softmax(-1).gather(-1, target[:, None])[:, 0])
        likeliest.append(logits.argmax(-1) == target)
    return torch.cat(nats), torch.cat(likeliest)
