"""Labelled documents: where they come from, what is said of those that are wrong, how they are dealt."""

import csv
import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from triad.data.documents import DocumentFile
from triad.data.length_buckets import LengthBuckets
from triad.data.pairs import TrainPairs, ValPairs
from triad.data.sources.labelled import labelled
from triad.data.sources.packages import packages
from triad.data.sources.source import Document, Source
from triad.data.token_files import prepare_tokens
from triad.data.tokenizers.byte import Byte

OPTIONS = {
    "val_path": None,
    "test_path": None,
    "val_fraction": 0.2,
    "text": "text",
    "label": "label",
    "columns": ["label", "text"],
    "max_bytes": None,
    "on_error": "raise",
}
MIXED = ["asyncio", "json", "logging"]


def documents(number: int) -> list[tuple[str, str]]:
    return [(f'{n} is "{"odd" if n % 2 else "even"}", or so', f"class {n % 3}") for n in range(number)]


def written(path: Path, rows: list[tuple[str, str]]) -> Path:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8", newline="") as file:
        if ".csv" in path.name:
            csv.writer(file).writerows(
                [("label", "id", "text"), *((b, n, a) for n, (a, b) in enumerate(rows))]
            )
        elif ".jsonl" in path.name:
            file.writelines(json.dumps({"text": a, "label": b}) + "\n" for a, b in rows)
        else:
            file.writelines(f"{b}\t{a}\n" for a, b in rows)
    return path


def read(source: Source) -> dict[str, list[Document]]:
    return {split: list(source.documents(split)) for split in ("train", "val")}


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl", "a.tsv.gz", "a.csv.gz", "a.jsonl.gz"])
def test_every_kind_of_file_gives_the_same_documents_each_in_one_split(tmp_path: Path, name: str) -> None:
    rows = documents(300)
    found = read(labelled(str(written(tmp_path / name, rows)), **OPTIONS))
    assert 30 < len(found["val"]) < 90
    both = [(document.text, document.label) for document in found["train"] + found["val"]]
    assert sorted(both) == sorted(rows)


def test_columns_and_fields_may_have_other_names_and_places(tmp_path: Path) -> None:
    columns = {"columns": ["id", "sentence", "stars"], "text": "sentence", "label": "stars"}
    path = tmp_path / "a.tsv"
    path.write_text("id\tsentence\tstars\n1\tgood\t5\n2\tbad\t1\n\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(json.dumps({"sentence": "fine", "stars": 4, "more": 1}) + "\n")
    source = labelled(str(path), **OPTIONS | columns | {"val_path": str(tmp_path / "b.jsonl")})
    found = read(source)
    assert [(d.name, d.text, d.label) for d in found["train"]] == [
        ("a.tsv:2", "good", "5"),
        ("a.tsv:3", "bad", "1"),
    ]
    assert [(d.text, d.label) for d in found["val"]] == [("fine", "4")]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.tsv", "x\tgood\nbad\n", r"a.tsv, line 2: 1 columns where data.columns="),
        ("a.tsv", "x\tgood\n \tbad\n", r"a.tsv, line 2: no label"),
        ("a.csv", "label,text\nx,good\ny\n", r"a.csv, line 3: fields where the header has 2: 1"),
        ("a.csv", "label,text\nx,good\ny,z,w\n", r"a.csv, line 3: fields where the header has 2: 3"),
        ("a.csv", 'label,text\nx,"go"od\n', r"a.csv, line 2: not CSV"),
        (
            "a.csv",
            "stars,text\nx,good\n",
            r"a.csv: no column 'label' \(it has: stars, text\); set data.label",
        ),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"label": 3}\n', r"a.jsonl, line 2: .*set data.text"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": "b"}\n', r"a.jsonl, line 2: .*set data.label"),
        ("a.jsonl", "[1]\n", r"a.jsonl, line 1: no text under 'text' \(it has: list\)"),
        ("a.jsonl", "{\n", r"a.jsonl, line 1: not JSON"),
        ("a.txt", "x\tgood\n", r"a.txt: labelled documents come as"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        read(labelled(str(tmp_path / name), **OPTIONS))


@pytest.mark.parametrize(("name", "sign"), [("a.csv", ","), ("a.tsv", "\t")])
def test_a_file_with_a_header_of_its_own_is_read_by_the_names_of_text_and_label_alone(
    tmp_path: Path, name: str, sign: str
) -> None:
    rows = [["id", "body", "kind"], *([str(n), f"text {n}", "ab"[n % 2]] for n in range(200))]
    (tmp_path / name).write_text("".join(f"{sign.join(row)}\n" for row in rows), encoding="utf-8")
    source = labelled(str(tmp_path / name), **OPTIONS | {"text": "body", "label": "kind"})
    assert source.contents["train"].labels == ("a", "b")
    found = sorted(document.text for split in ("train", "val") for document in source.read(split))
    assert found == sorted(row[1] for row in rows[1:])


def test_names_that_are_no_columns_and_fractions_that_are_none_are_refused(tmp_path: Path) -> None:
    path = str(written(tmp_path / "a.tsv", documents(3)))
    with pytest.raises(ValueError, match=r"no column 'text'.*data.columns=\['label'\].*set data.text"):
        labelled(path, **OPTIONS | {"columns": ["label"]})
    with pytest.raises(ValueError, match=r"data\.val_fraction=1"):
        labelled(path, **OPTIONS | {"val_fraction": 1.0})
    with pytest.raises(ValueError, match=r"data\.lines=0"):
        packages(["json"], 0, 0.2)
    with pytest.raises(ValueError, match="no_such has 0 files"):
        packages(["json", "no_such"], 10, 0.2)


def test_a_label_that_only_validation_has_is_named(tmp_path: Path) -> None:
    train, val = (written(tmp_path / f"{n}.tsv", documents(n)) for n in (2, 3))
    source = labelled(str(train), **OPTIONS | {"val_path": str(val)})
    with pytest.raises(ValueError, match="label 'class 2' is in the val split only"):
        prepare_tokens(source, Byte(), tmp_path / "cache")


def test_passages_of_packages_have_their_package_for_a_label_and_files_are_in_one_split() -> None:
    found = read(packages(MIXED, 10, 0.2))
    files = {split: {d.name.rpartition(":")[0] for d in found[split]} for split in found}
    assert not files["train"] & files["val"]
    for split in found:
        assert {d.label for d in found[split]} == set(MIXED)
        assert all(d.name.startswith(f"{d.label}/") for d in found[split])
        assert max(d.text.count("\n") for d in found[split]) == 10
    assert found == read(packages(MIXED, 10, 0.2))


@pytest.fixture
def rows(tmp_path: Path) -> DocumentFile:
    source = labelled(str(written(tmp_path / "a.tsv", documents(207))), **OPTIONS | {"val_fraction": 0.03})
    tokens = prepare_tokens(source, Byte(), tmp_path / "cache")
    assert tokens.labels == ("class 0", "class 1", "class 2")
    return DocumentFile(tokens.train, context=24, separator=Byte().separator)


def keys(batch: dict) -> list[tuple[str, str]]:
    """Texts and labels of a batch's rows, but for those that are none."""
    texts = [Byte().decode(row[row >= 0]) for row in batch["tokens_BT"].numpy()]
    labels = batch["labels_B"].tolist()
    return [(text, f"class {n}") for text, n in zip(texts, labels, strict=True) if n >= 0]


def test_each_row_of_validation_comes_once_with_its_own_label_on_any_number_of_processes(rows) -> None:
    known = Counter((text[:24], label) for text, label in documents(207))
    alone = [key for batch in ValPairs(rows, 8, 0, 1) for key in keys(batch)]
    assert len(alone) == len(rows)
    assert not Counter(alone) - known
    shared = [key for rank in range(2) for batch in ValPairs(rows, 8, rank, 2) for key in keys(batch)]
    assert sorted(shared) == sorted(alone)
    lasts = [list(ValPairs(rows, 8, rank, 2))[-1] for rank in range(2)]
    assert sum((last["labels_B"] == -100).sum() for last in lasts) == -len(rows) % 8 > 0


def test_a_batch_depends_on_seed_and_step_alone_and_has_one_width(rows) -> None:
    def batches(rank: int = 0, ranks: int = 1, seed: int = 0) -> TrainPairs:
        return TrainPairs(rows, LengthBuckets(rows, 8, "rows"), seed, 0, rank, ranks)

    whole = batches().batch(31)
    parts = [batches(rank, 4).batch(31) for rank in range(4)]
    assert [key for part in parts for key in keys(part)] == keys(whole)
    assert {part["tokens_BT"].shape[1] for part in parts} == {whole["tokens_BT"].shape[1]}
    assert {(part["count"], part["rows"]) for part in parts} == {(int((whole["tokens_BT"] >= 0).sum()), 8)}
    lengths = (whole["tokens_BT"] >= 0).sum(-1).tolist()
    assert all(part["lengths_R"].tolist() == lengths for part in parts)
    assert keys(batches(seed=1).batch(31)) != keys(whole)
    epoch = [key for step in range(len(rows) // 8) for key in keys(batches().batch(step))]
    assert max(Counter(epoch).values()) == 1


def test_files_that_are_sorted_by_label_are_shuffled_for_validation(tmp_path: Path) -> None:
    rows = sorted(documents(300), key=lambda row: row[1])
    tokens = prepare_tokens(
        labelled(str(written(tmp_path / "a.tsv", rows)), **OPTIONS), Byte(), tmp_path / "cache"
    )
    first = DocumentFile(tokens.train, 24, 256).batch(np.arange(24), 0, 1)
    assert len(first["labels_B"].unique()) == 3


def test_a_change_of_labels_alone_is_another_corpus(tmp_path: Path) -> None:
    rows = documents(60)
    made = [
        prepare_tokens(
            labelled(str(written(tmp_path / "a.tsv", each)), **OPTIONS), Byte(), tmp_path / "cache"
        )
        for each in (rows, [(rows[0][0], "class 2"), *rows[1:]])
    ]
    assert made[0].fingerprint != made[1].fingerprint
    assert (made[0].train.tokens == made[1].train.tokens).all()
