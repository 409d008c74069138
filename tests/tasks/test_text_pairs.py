"""Rows of two texts, and tasks that read them."""

from itertools import permutations

import pytest
import torch

from tests.tasks.labelling import BODIES, CONTEXT, TOKENIZER, fit, make_batch, make_model, measure, sees
from triad.data.tokenizers.char import Char
from triad.metrics.accuracy import Accuracy
from triad.tasks.classification import Classification
from triad.tasks.target_sentiment import TargetSentiment
from triad.tasks.text_pairs import find_separator, join

END = TOKENIZER.separator
LABELS = ("no", "yes")
PAIRS = [
    {"text": f"{word} and {other}", "second": word, "label": LABELS[word in ("good", "long")]}
    for word, other in permutations(("good", "bad", "long", "red"), 2)
]


def make(kind: type = Classification, name: str = "encoder", tokenizer=TOKENIZER, context: int = CONTEXT):
    run = {"tokenizer": tokenizer, "context": context, "model_sees": sees(name)}
    options = {"smoothing": 0.0, "z_loss": 0.0, "pool": None, "dropout": 0.0}
    return kind(**options, labels=LABELS, metrics={"accuracy": Accuracy()}, **run)


@pytest.mark.parametrize(("lengths", "room"), [((3, 4), 20), ((10, 3), 10), ((3, 10), 10), ((9, 9), 11)])
def test_the_longer_text_is_cut_token_by_token_as_bert_does(lengths: tuple[int, int], room: int) -> None:
    first, second = (list(range(length)) for length in lengths)
    row = join(first, second, END, room)
    while len(first) + len(second) > room - 2:  # _truncate_seq_pair of its published code
        (first if len(first) > len(second) else second).pop()
    assert row == [END, *first, END, *second]


def test_a_pair_is_one_row_and_a_text_alone_has_no_separator() -> None:
    (row,) = make().encode({"text": "ab", "second": "c", "label": "yes"})
    assert row == {"tokens_BT": [END, *b"ab", END, *b"c"], "labels_B": 1, "cut": 0}
    assert make().encode({"text": "ab", "label": "no"}) == [{"tokens_BT": [*b"ab"], "labels_B": 0, "cut": 0}]
    assert make(context=6).encode({"text": "abcd", "second": "efg", "label": "no"})[0]["cut"] == 3


def test_a_label_that_training_never_saw_is_named() -> None:
    with pytest.raises(ValueError, match=r"'ab' has the label 'maybe', which training never saw: .* no, yes"):
        make().encode({"text": "ab", "label": "maybe"})


def test_without_a_separator_the_mask_of_an_encoder_stands_there_and_other_models_refuse() -> None:
    letters = Char("abc")
    assert find_separator(letters, "both sides") == 3
    assert make(tokenizer=letters).encode(PAIRS[0] | {"text": "a", "second": "b"})[0]["tokens_BT"] == [
        3,
        0,
        3,
        1,
    ]
    assert make(TargetSentiment, "lstm", tokenizer=letters).special_tokens == 1
    with pytest.raises(ValueError, match=r"tokenizer=char has no separator .* use tokenizer=bpe"):
        make(name="lstm", tokenizer=letters).encode(PAIRS[0] | {"text": "a", "second": "b"})


@pytest.mark.parametrize(
    ("kind", "name"), [*((Classification, name) for name in BODIES), (TargetSentiment, "lstm")]
)
def test_every_family_learns_labels_of_pairs(kind: type, name: str) -> None:
    task = make(kind, name)
    model, batch = make_model(task, name), make_batch(task, PAIRS, padded=1)
    before = measure(task, model, batch)["loss"]
    fit(task, model.train(), batch, 20)
    found = measure(task, model.eval(), batch, parts=5)
    assert found["accuracy"] == 1
    assert found["loss"] < before / 4


def test_a_table_of_segments_is_told_the_second_text() -> None:
    task = make()
    model, batch = make_model(task, "encoder, segments"), make_batch(task, PAIRS[1:2])
    tokens = batch["tokens_BT"]
    segments = torch.tensor([[0] * 15 + [1] * 4])  # separator, "good and long", separator; "good"
    hidden = model.body(tokens, segments_BT=segments)[0]
    expected = model.head(model.pool(hidden, tokens >= 0))
    torch.testing.assert_close(model(tokens)[0], expected)
    model.body.segment.weight.data[1, 0] += 9
    assert (model(tokens)[0] - expected).abs().max() > 1e-3


def test_the_indices_of_labels_are_what_metrics_compare_with() -> None:
    task = make()
    assert task.references(PAIRS[0]) == [1]
    batch = make_batch(task, PAIRS[:3], padded=1)
    found = task.predict(make_model(task, "lstm"), *(batch[name] for name in task.reads))
    assert [len(one) for one in found[:3]] == [2, 2, 2]
    assert found[3] is None
    assert found[0].sum() == pytest.approx(1)
