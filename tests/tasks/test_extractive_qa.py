"""Answers as spans: windows and offsets, the loss, the best span, and what counts as one question."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForQuestionAnswering

from tests.data.test_offsets import make as make_tokenizer
from tests.tasks.labelling import BODIES, RUN, TOKENIZER, fit, make_batch, make_model, measure, read, sees
from triad.data.tokenizers.char import Char
from triad.tasks.extractive_qa import (
    END,
    OTHER,
    START,
    Answer,
    ExtractiveQA,
    cut_windows,
    find_best_spans,
    sum_loss,
)

SEPARATOR = TOKENIZER.separator
TEXT = "Émile was born in Zürich, and he died in 1902."


def question(answer: str | None, text: str = TEXT, asked: str = "Where?") -> dict[str, Any]:
    answers = [] if answer is None else [{"text": answer, "answer_start": text.index(answer)}]
    return {"id": "q1", "question": asked, "context": text, "answers": answers}


class Exact:
    """Whether an answer is one of the references, or empty where there is none."""

    higher_is_better, size = ("exact",), 2

    def count(self, prediction: str, references: list[str]) -> tuple[float, float]:
        return float(prediction in references if references else not prediction), 1.0

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        return {"exact": float(sums[0] / max(sums[1], 1)), "questions": float(sums[1])}


def make(name: str = "encoder", **changes: Any) -> ExtractiveQA:
    options = {"stride": 8, "max_question": 16, "max_answer": 12, "no_answer_threshold": None, "dropout": 0.0}
    return ExtractiveQA(**options | RUN | {"model_sees": sees(name), "metrics": {"e": Exact()}} | changes)


def read_row(row: dict[str, Any]) -> list[str]:
    """What the tokens of a window's row stand for."""
    text = "".join(map(chr, row["characters_BU"]))
    return [text[a:b] for a, b in zip(row["first_BT"], row["end_BT"], strict=True) if a >= 0]


def test_a_row_is_the_question_and_the_text_with_places_of_its_characters() -> None:
    (row,) = make().encode(question("Zürich"))
    text = TEXT.encode()
    assert row["tokens_BT"] == [SEPARATOR, *b"Where?", SEPARATOR, *text, SEPARATOR]
    start, stop = 8 + text.index("Zürich".encode()), 8 + text.index(b",") - 1
    expected = [-100] * 8 + [OTHER] * len(text) + [-100]
    expected[start], expected[stop], expected[0] = START, END, OTHER
    assert row["targets_BT"] == expected
    assert read_row(row) == [TEXT[at] if TEXT[at] != " " else "" for at in _characters(TEXT)]
    assert row["character_spans_BA"] == [18, 24]
    assert row["counted_B"] == 1
    (row,) = make("lstm").encode(question(None))
    assert (row["targets_BT"][0], row["targets_BT"][-1]) == (-100, START + END)


def _characters(text: str) -> list[int]:
    return [at for at, character in enumerate(text) for _ in character.encode()]


@pytest.mark.parametrize("name", ["byte", "char", "word", "bpe", "unigram", "byte level", "word piece"])
def test_an_answer_is_found_in_the_text_whatever_the_tokenizer(name: str, tmp_path) -> None:
    text = "the house is tall, the Houses are taller"
    task = make(
        tokenizer=make_tokenizer(name, tmp_path)
        if name != "char"
        else Char("".join(sorted({*text, *"Where?"})))
    )
    for answer in ("house", "the house", "Houses are", "taller", "tall", text):
        (row,) = task.encode(question(answer, text))
        kinds = np.array(row["targets_BT"])
        start, stop = (int(np.flatnonzero((kinds > 0) & (kinds & kind > 0)).item()) for kind in (START, END))
        assert text[row["first_BT"][start] : row["end_BT"][stop]] == answer, row


@pytest.mark.parametrize(
    ("tokens", "room", "stride"), [(30, 10, 4), (30, 10, 10), (30, 10, 99), (9, 10, 4), (0, 5, 1)]
)
def test_windows_cover_a_text_and_overlap(tokens: int, room: int, stride: int) -> None:
    windows = [*cut_windows(tokens, room, stride)]
    assert {at for window in windows for at in range(window.start, window.stop)} == {*range(tokens)}
    assert all(window.stop - window.start <= room for window in windows)
    assert [b.start - a.start for a, b in pairwise(windows)] == [min(stride, room)] * (len(windows) - 1)
    assert windows[-1].stop == tokens


def test_a_question_of_several_windows_is_counted_once_and_only_windows_with_the_answer_have_one() -> None:
    task = make(context=32)
    rows = task.encode(question("Zürich"))
    assert len(rows) > 3
    assert all(len(row["tokens_BT"]) <= 32 for row in rows)
    answered = [{18, 24} <= {*row["first_BT"], *row["end_BT"]} for row in rows]
    assert 1 <= sum(answered) < len(rows)
    assert [row["targets_BT"][0] for row in rows] == [OTHER if one else START + END for one in answered]
    assert [row["counted_B"] for row in rows].index(1) == answered.index(True)
    assert sum(row["counted_B"] for row in rows) == 1
    assert [row["counted_B"] for row in task.encode(question(None))] == [1] + [0] * (len(rows) - 1)


def test_wrong_offsets_are_told_and_contexts_that_are_too_small() -> None:
    example = question("Zürich")
    example["answers"][0]["answer_start"] += 1
    with pytest.raises(
        ValueError,
        match="question q1: the answer 'Zürich' is not at answer_start=19, where the context has 'ürich,'",
    ):
        make().encode(example)
    with pytest.raises(ValueError, match="context=7: a question and a text need context=8"):
        make(context=7)


def test_a_tokenizer_without_a_separator_gets_one() -> None:
    letters = Char("".join(sorted({*TEXT, *"Where?"})))
    task = make("lstm", tokenizer=letters)
    assert task.special_tokens == 1
    tokens = task.encode(question(None))[0]["tokens_BT"]
    assert [at for at, token in enumerate(tokens) if token == letters.vocab_size] == [0, 7, len(tokens) - 1]
    assert make("lstm").special_tokens == 0


def test_the_loss_is_that_of_transformers() -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    theirs = BertForQuestionAnswering(BertConfig(**sizes, intermediate_size=32)).eval().double()
    tokens, start, end = torch.randint(30, (4, 9)), torch.tensor([0, 3, 5, 8]), torch.tensor([0, 3, 7, 8])
    targets = torch.zeros(4, 9, dtype=torch.long)
    targets[torch.arange(4), start] += START
    targets[torch.arange(4), end] += END
    expected = theirs(input_ids=tokens, start_positions=start, end_positions=end).loss
    hidden, last = theirs.bert(input_ids=tokens).last_hidden_state, theirs.qa_outputs
    found = make().loss(targets, True)(hidden, last.weight, bias_V=last.bias) / 4
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(loss, last.weight, retain_graph=True)[0] for loss in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_places_that_are_ignored_and_rows_of_padding_take_no_part() -> None:
    logits = torch.randn(3, 7, 2, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[0, -100, 1, 2, -100, -100, -100], [-100] * 7, [3, -100, 0, 0, 0, -100, -100]])
    found = sum_loss(logits, targets)
    first, third = logits[0, [0, 2, 3]].log_softmax(0), logits[2, [0, 2, 3, 4]].log_softmax(0)
    torch.testing.assert_close(found, -(first[1, 0] + first[2, 1] + third[0, 0] + third[0, 1]) / 2)
    (gradient,) = torch.autograd.grad(found, logits)
    assert not gradient[targets == -100].any()
    assert gradient.isfinite().all()


def test_the_best_span_is_that_of_all_that_are_allowed() -> None:
    draw = torch.Generator().manual_seed(0)
    logits, inside = torch.randn(40, 11, 2, generator=draw), torch.rand(40, 11, generator=draw) < 0.7
    inside[:, 5] = True
    score, start, stop = find_best_spans(logits, inside, 4)
    for row in range(40):
        spans = {
            (i, j): float(logits[row, i, 0] + logits[row, j, 1])
            for i in range(11)
            for j in range(i, min(i + 4, 11))
            if inside[row, i] and inside[row, j]
        }
        best = max(spans, key=spans.__getitem__)
        assert (int(start[row]), int(stop[row])) == best
        assert float(score[row]) == pytest.approx(spans[best])


def test_windows_are_judged_together_and_no_answer_by_its_threshold() -> None:
    windows = [Answer("a", 1.0, 5.0), Answer("b", 3.0, 4.0), Answer("c", 2.0, 9.0)]
    assert make().combine(windows) == "b"
    assert make(no_answer_threshold=0.0).combine(windows) == ""
    assert make(no_answer_threshold=1.0).combine(windows) == "b"


@pytest.mark.parametrize("name", BODIES)
def test_every_family_learns_answers(name: str) -> None:
    task = make(name, no_answer_threshold=0.0)
    asked = {"Who?": "Émile", "Where?": "Zürich", "When?": "1902", "Why?": None}
    examples = [question(answer, asked=words) for words, answer in asked.items()]
    model, batch = make_model(task, name), make_batch(task, examples)
    before = measure(task, model, batch)
    fit(task, model.train(), batch, 40, lr=1e-2)
    found = measure(task, model.eval(), batch)
    assert found["questions"] == 4
    assert found["exact"] > before["exact"]
    assert found["loss"] < before["loss"] / 2
    assert measure(task, model, make_batch(task, examples, padded=2), parts=3) == pytest.approx(found)
    predictions = task.predict(model, *read(task, make_batch(task, examples, padded=1), True))
    assert [one is None for one in predictions] == [False] * 4 + [True]
    answers = [task.combine([one]) for one in predictions[:4]]
    right = [
        answer in task.references(one) if one["answers"] else not answer
        for answer, one in zip(answers, examples, strict=True)
    ]
    assert sum(right) / 4 == found["exact"]


def test_a_sample_shows_the_answer() -> None:
    task = make()
    batch = make_batch(task, [question("Zürich")])
    row = tuple(batch[name] for name in task.reads)
    _, words, _, answer = task.sample(make_model(task, "encoder"), row, length=6, vocab_size=256)
    assert bytes(words) == b"Where?"
    assert bytes(answer) in TEXT.encode()
