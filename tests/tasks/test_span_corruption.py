"""Span corruption: what is cut out, where, and that nothing is lost."""

import numpy as np
import pytest
import torch

from triad.layers.cross_entropy import IGNORED
from triad.layers.full_attention import PADDING
from triad.tasks.counter_rng import random_integers
from triad.tasks.span_corruption import SpanCorruption

WORDS, SENTINELS = 50, 100


def task(context: int = 64, share: float = 0.15, span: float = 3.0, **more) -> SpanCorruption:
    return SpanCorruption(0.0, 0.0, share, span, more.pop("sentinels", SENTINELS), WORDS, context)


def batch(lengths: list[int], time: int = 64) -> dict:
    tokens = torch.arange(len(lengths) * time).view(len(lengths), time) % WORDS
    real = torch.arange(time) < torch.tensor(lengths)[:, None]
    return {
        "tokens_BT": tokens,
        "targets_BT": tokens.where(real, IGNORED),
        "lengths_R": torch.tensor(lengths),
    }


def draw_of(rows: int):
    return lambda purpose, length: random_integers(purpose, torch.arange(rows), length)


def corrupt(lengths: list[int], time: int = 64, **more) -> tuple[dict, dict]:
    given = batch(lengths, time)
    return given, task(time, **more).inputs(given, draw_of(len(lengths)))


def read(row: torch.Tensor) -> list[int]:
    return [word for word in row.tolist() if word not in (PADDING, IGNORED)]


def fill(source: list[int], target: list[int]) -> list[int]:
    """The text out of both sides, by T5's description alone."""
    assert source[-1] == target[-1] == WORDS
    spans: dict[int, list[int]] = {}
    for word in target[:-1]:
        if word > WORDS:
            spans[word] = []
        else:
            spans[[*spans][-1]].append(word)
    return [word for shown in source[:-1] for word in spans.get(shown, [shown])]


def test_both_sides_together_are_the_text() -> None:
    lengths = [64, 1, 2, 3, 40, 0, 7] * 20
    given, found = corrupt(lengths)
    for row, length in enumerate(lengths):
        source, target = read(found["source_BS"][row]), read(found["targets_BT"][row])
        text = given["tokens_BT"][row, :length].tolist()
        assert (fill(source, target) if length else source + target) == text
        sentinels = [word for word in source if word > WORDS]
        assert sentinels == [word for word in target if word > WORDS]
        assert sentinels == [WORDS + 1 + number for number in range(len(sentinels))]


def test_the_decoder_reads_the_target_one_word_late() -> None:
    _, found = corrupt([64, 9, 0])
    for before, target in zip(found["tokens_BT"], found["targets_BT"], strict=True):
        assert read(before) == [WORDS, *read(target)][: len(read(target))]


def test_lengths_and_count_are_those_of_the_rows() -> None:
    _, found = corrupt([64, 1, 2, 33, 0])
    targets, sources = found["lengths"]
    assert targets.tolist() == [len(read(row)) for row in found["targets_BT"]]
    assert sources.tolist() == [len(read(row)) for row in found["source_BS"]]
    assert found["count"] == targets.sum()


def test_a_row_of_568_tokens_fills_512_and_114_as_t5_has_it() -> None:
    # the lengths that T5's code finds for inputs of 512 (seqio, random_spans_helper)
    lengths = task(600).find_lengths(torch.tensor([568]))
    assert (lengths.source.item(), lengths.target.item()) == (512, 114)
    _, found = corrupt([568], 600)
    assert found["source_BS"].shape == (1, 512)
    assert found["targets_BT"].shape == (1, 114)


def simulate(length: int, hidden: int, spans: int, rng: np.random.Generator) -> np.ndarray:
    """Which places are hidden, drawn as Raffel et al. describe it: random borders on both sides."""

    def cut(items: int) -> np.ndarray:
        borders = np.sort(rng.choice(items - 1, spans - 1, replace=False)) + 1
        return np.diff(np.concatenate(([0], borders, [items])))

    pieces = np.stack((cut(length - hidden), cut(hidden)), 1).ravel()
    return np.repeat(np.arange(len(pieces)) % 2 == 1, pieces)


def test_places_are_hidden_as_often_as_when_borders_are_drawn_evenly() -> None:
    rows, length = 4000, 40
    given, found = corrupt([length] * rows, length, share=0.25)
    hidden = np.zeros(length)
    for row in range(rows):
        source = {word for word in read(found["source_BS"][row]) if word < WORDS}
        hidden += [word not in source for word in given["tokens_BT"][row].tolist()]
    rng = np.random.default_rng(0)
    expected = np.mean([simulate(length, 10, 3, rng) for _ in range(rows)], 0)
    assert hidden.sum() == 10 * rows
    # the difference of two frequencies of 4,000 has a standard deviation of at most 0.0112
    assert np.abs(hidden / rows - expected).max() < 5 * 0.0112


def test_processes_hide_what_one_process_hides() -> None:
    given = batch([64, 30, 9, 64])
    one = task().inputs(given, draw_of(4))
    for rank in range(2):
        own = slice(2 * rank, 2 * rank + 2)
        share = {name: given[name][own] for name in ("tokens_BT", "targets_BT")}
        rows = torch.arange(4)[own]
        part = task().inputs(
            given | share, lambda purpose, length, r=rows: random_integers(purpose, r, length)
        )
        assert part["count"] == one["count"]
        for name in ("source_BS", "tokens_BT", "targets_BT"):
            assert torch.equal(part[name], one[name][own])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"sentinels": 2}, "task.sentinels=2: a row of context=64 has 3 spans"),
        ({"span": 1.0}, "above context=64; raise task.span"),
    ],
)
def test_what_does_not_fit_is_refused(more: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        task(**more)


def test_most_of_a_row_may_be_hidden() -> None:
    given, found = corrupt([20] * 50, 20, share=0.9, span=2.0)
    for row in range(50):
        source, target = read(found["source_BS"][row]), read(found["targets_BT"][row])
        assert fill(source, target) == given["tokens_BT"][row].tolist()
        assert len(source) == found["lengths"][1][row]
