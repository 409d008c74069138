"""Rows that a task makes of examples: what a batch holds, on any number of ranks, and what was cut."""

import json
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from triad.data.pairs import TrainPairs, ValPairs
from triad.data.rows import make_datamodule
from triad.data.sources.examples import Examples
from triad.data.sources.source import Document, Split, Text
from triad.data.token_files import prepare_tokens
from triad.data.tokenizers.byte import Byte
from triad.schedules.batch_size import fixed as by_rows
from triad.schedules.batch_size import tokens as by_tokens
from triad.storage.cache import cache_home

CONTEXT = 12
SIZES: dict[Split, range] = {"train": range(40, 107), "val": range(2, 20)}
NO_ROW, TWO_ROWS = 50, 51


class Sums(Examples):
    """Terms and their total."""

    yields = "sums"
    text_of = ("terms",)


def describe(total: int) -> Document:
    terms = [str(term) for term in range(1, total % 5 + 2)]
    return Sums.describe(f"{total}", {"terms": terms, "total": total})


def read_sums(split: Split) -> Iterator[Document]:
    yield from map(describe, SIZES[split])


class AddUp:
    """Reads the terms of a sum as far as they fit; asks at every other place, and for the parity."""

    def __init__(self, context: int) -> None:
        self.context = context

    def encode(self, example: dict) -> list[dict]:
        total, signs = example["total"], [ord(sign) for sign in "+".join(example["terms"])]
        read = signs * (1 + total % 3)
        if total == NO_ROW:
            return []
        kept = read[: self.context]
        row = {
            "tokens_BT": kept,
            "targets_BT": [-100 if at % 2 else at for at in range(len(kept))],
            "source_BS": [total, total],
            "labels_B": total % 2,
            "cut": len(read) - len(kept),
        }
        return [row, row | {"labels_B": -100}] if total == TWO_ROWS else [row]


@pytest.fixture
def source(tmp_path, monkeypatch) -> Sums:
    monkeypatch.setenv("TRIAD_CACHE", str(tmp_path / "cache"))
    return Sums("sums", read_sums)


def make(source, task=None, rule=None, asked=(), context=CONTEXT):
    made, task = prepare_tokens(source, Byte(), cache_home()), task or AddUp(context)
    dials = context, rule or by_rows(6, "none", None), 3, "windows", "every_epoch"
    return make_datamodule(source, made, 256, *dials, task, dict(asked))


def take(data, steps, rank=0, ranks=1, start=0):
    batches = TrainPairs(data.train, data.buckets, data.seed, start, rank, ranks)
    return [batches.batch(step) for step in steps]


def read_rows(batch) -> list[tuple]:
    """The rows of a batch as their task made them, without padding, which is looked at."""
    found = []
    for at in range(len(batch["labels_B"])):
        tokens, targets, source = (batch[name][at] for name in ("tokens_BT", "targets_BT", "source_BS"))
        if length := int((tokens >= 0).sum()):
            assert set(tokens[length:].tolist()) <= {-1}
            assert set(targets[length:].tolist()) <= {-100}
            assert len(tokens) == len(targets)
            parts = tokens[:length], targets[:length], source, batch["labels_B"][at : at + 1]
            found.append(tuple(tuple(part.tolist()) for part in parts))
        else:
            assert {*targets.tolist(), int(batch["labels_B"][at])} == {-100}
            assert set(source.tolist()) == {-1}
    return found


def expect(split: Split) -> Counter:
    rows = [row for d in map(describe, SIZES[split]) for row in AddUp(CONTEXT).encode(json.loads(d.label))]
    names = "tokens_BT", "targets_BT", "source_BS"
    return Counter((*(tuple(row[name]) for name in names), (row["labels_B"],)) for row in rows)


@pytest.mark.parametrize("rule", [by_rows(6, "none", None), by_tokens(60)])
def test_each_row_that_the_task_makes_comes_once_in_an_epoch(source, rule):
    data = make(source, rule=rule)
    batches = take(data, range(len(data.buckets)))
    read = Counter(row for batch in batches for row in read_rows(batch))
    assert not read - expect("train")
    assert sum((expect("train") - read).values()) == data.buckets.left
    for batch in batches:
        rows = read_rows(batch)
        assert batch["rows"] == len(rows)
        assert batch["lengths_R"].tolist() == [len(row[0]) for row in rows]
        assert batch["source_lengths_R"].tolist() == [2] * len(rows)
        asked = [*(target for row in rows for target in row[1]), *(row[3][0] for row in rows)]
        assert batch["count"] == sum(target != -100 for target in asked)


@pytest.mark.parametrize("ranks", [2, 3])
def test_batches_are_the_same_on_any_number_of_ranks_and_after_a_resume(source, ranks):
    data, steps = make(source, rule=by_tokens(60)), range(5, 25)
    whole = take(data, steps)
    shares = [take(make(source, rule=by_tokens(60)), steps, rank, ranks, 5) for rank in range(ranks)]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert read_rows(batch) == [row for part in parts for row in read_rows(part)]
        assert {(part["rows"], part["count"], part["tokens_BT"].shape[1]) for part in parts} == {
            (batch["rows"], batch["count"], batch["tokens_BT"].shape[1])
        }
        assert len({len(part["labels_B"]) for part in parts}) == 1


def test_every_row_of_validation_comes_once_however_many_ranks_there_are(source):
    data = make(source)
    for ranks in (1, 2, 4):
        batches = [b for rank in range(ranks) for b in ValPairs(data.val, 5, rank, ranks)]
        assert Counter(row for batch in batches for row in read_rows(batch)) == expect("val")


def test_rows_are_made_once_for_a_task_with_its_arguments_and_context(source):
    class Once(AddUp):
        contents = "passages"

        def encode(self, example):
            asked.append(example["total"])
            return super().encode(example)

    asked: list[int] = []
    make(source, Once(CONTEXT), asked={"window": 1})
    assert asked == [*SIZES["train"], *SIZES["val"]]
    make(source, Once(CONTEXT), asked={"window": 1})
    assert len(asked) == len([*SIZES["train"], *SIZES["val"]])
    for changed in ({"asked": {"window": 2}}, {"context": CONTEXT + 1}):
        asked.clear()
        make(source, Once(CONTEXT), **{"asked": {"window": 1}} | changed)
        assert asked
    asked.clear()
    Once.contents = "others"
    make(source, Once(CONTEXT), asked={"window": 1})
    assert asked


def test_what_is_cut_or_left_out_is_told_in_one_line(source, capfd):
    make(source)
    (told,) = [line for line in capfd.readouterr().err.splitlines() if "train split" in line]
    lengths = [len("+".join(json.loads(describe(n).label)["terms"])) * (1 + n % 3) for n in SIZES["train"]]
    longer = [length - CONTEXT for length in lengths if length > CONTEXT]
    longer += [lengths[TWO_ROWS - 40] - CONTEXT] if lengths[TWO_ROWS - 40] > CONTEXT else []
    rows = len(lengths)  # one example makes none and one makes two
    assert told == (
        f"data=sums: of the train split {len(longer)} of {rows} rows are cut to context={CONTEXT}, "
        f"{sum(longer)} tokens less, and 1 of {len(lengths)} examples make no row"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: [], "makes no row of any example of the train split at context=12; raise context"),
        (lambda rows: [rows[0] | {"tokens_BT": [1] * 13}], "a row of 13 tokens at context=12"),
        (lambda rows: [rows[0], {"tokens_BT": [1]}], r"and one of \['tokens_BT'\]"),
    ],
)
def test_rows_that_cannot_be_are_refused(source, change, said):
    class Changed(AddUp):
        def encode(self, example):
            return change(super().encode(example) or [{"tokens_BT": [1]}])

    with pytest.raises(ValueError, match=said):
        make(source, Changed(CONTEXT))


def test_a_task_that_makes_rows_gets_the_examples_of_a_text(tmp_path, monkeypatch):
    class Spelled:
        makes_rows = ("text",)

        def encode(self, example):
            return [{"tokens_BT": [*example["text"].encode()]}]

    monkeypatch.setenv("TRIAD_CACHE", str(tmp_path))
    source = Text("words", lambda split: (Document(word, word) for word in ("ab", "cde", "f")))
    data = make(source, Spelled(), by_rows(3, "none", None))
    (batch,) = take(data, [0])
    assert sorted(batch["tokens_BT"].tolist()) == [[97, 98, -1], [99, 100, 101], [102, -1, -1]]
    assert batch["count"] == 6
    assert "targets_BT" not in batch
    assert isinstance(batch["tokens_BT"], torch.Tensor)
    Spelled.makes_rows = ()
    assert np.array(make(source, Spelled(), by_rows(3, "none", None), context=2).train.list_places()).size


def test_the_examples_of_a_kind_and_the_text_that_a_tokenizer_learns_from(source):
    assert next(source.examples("train")) == {"terms": ["1"], "total": 40}
    assert next(source.documents("val")).text == "1\n2\n3"
    with pytest.raises(ValueError, match=r"data=sums has no test split: .*data\.test_path"):
        next(source.examples("test"))
