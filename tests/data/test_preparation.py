"""A preparation composes filters, a mask and searches into a product that is read like its source."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from triad.config.build import build
from triad.config.compose import compose
from triad.data.filtering import find_examples
from triad.data.preparation import (
    NothingLeft,
    Preparation,
    find_parts,
    make_preparation,
    prepare_source,
)
from triad.data.preparation import prepare as prepare_product
from triad.data.sources.source import Source, Text
from triad.prepare import prepare

WITHOUT = ("~clean.filters.encoding", "~clean.filters.punctuation")
WORDS = ("trainer.accelerator=cpu", "data/clean=words", "data/privacy=mask", *WITHOUT)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIAD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "lines.jsonl"
    texts = [f"document {i} many\x00, ask 192.0.2.{i + 10}" for i in range(60)] + ["the a of"] * 40
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def configure(path: Path, *words: str) -> tuple[Source, Preparation]:
    config = compose(["data=text", f"data.path={path}", *WORDS, *words])
    return build(config["data"]), make_preparation(config, build(find_parts(config)))


def texts(source: Source) -> dict[tuple[str, str], str]:
    splits = ("train", "val")
    return {(split, one.name): one.text for split in splits for one in source.documents(split)}


def test_documents_are_cleaned_and_masked_in_order_and_counted(lines: Path) -> None:
    source, preparation = configure(lines)
    product = prepare_product(source, preparation)
    prepared = texts(product.source)
    assert isinstance(product.source, Text)
    assert prepared.keys() < texts(source).keys()  # and none has moved between the splits
    assert len(prepared) == 60
    assert {*prepared.values()} == {f"document {i} many, ask <IP>" for i in range(60)}
    steps = {step["name"]: step for step in product.facts["steps"]["train"]}
    names = ("control_characters", "normalization", "stop_words")
    assert [*steps] == [*(f"clean.filters.{name}" for name in names), "privacy"]
    came, stayed = (product.facts[when]["train"]["units"] for when in ("came", "stayed"))
    dropped = sum(sum(step["dropped"].values()) for step in steps.values())
    assert came - dropped == stayed
    assert steps["clean.filters.control_characters"]["changed"] == stayed
    assert steps["privacy"]["changed"] == stayed
    assert steps["clean.filters.stop_words"]["dropped"].keys() == {"empty"}


def test_a_manifest_names_files_and_arguments_and_holds_no_text(lines: Path) -> None:
    source, preparation = configure(lines, "+data.licence=CC0-1.0")
    product = prepare_product(source, preparation)
    manifest = (product.folder / "manifest.json").read_text()
    assert "192" not in manifest
    assert product.facts["files"] == [["lines.jsonl", hashlib.sha256(lines.read_bytes()).hexdigest()]]
    assert product.facts["licence"] == "CC0-1.0"
    assert product.facts["parts"]["privacy"]["call"]["kinds"] == [
        "email",
        "iban",
        "card",
        "id",
        "ip",
        "phone",
    ]


def test_every_argument_and_the_licence_make_another_product(lines: Path) -> None:
    other = (
        ["privacy.kinds=[email]"],
        ["clean.filters.normalization.form=NFKC"],
        ["clean.filters.stop_words.words=[the]"],
        ["~clean.filters.control_characters"],
        ["+data.licence=MIT"],
        [],
    )
    folders = {prepare_product(*configure(lines, *words)).folder for words in other}
    assert len(folders) == len(other)
    assert prepare_product(*configure(lines)).folder in folders
    lines.write_text(lines.read_text() + json.dumps({"text": "one more"}) + "\n")
    assert prepare_product(*configure(lines)).folder not in folders


def test_what_was_tampered_with_is_made_again_and_the_same(lines: Path) -> None:
    product = prepare_product(*configure(lines))
    file = product.folder / "train.jsonl.gz"
    whole = file.read_bytes()
    file.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    with pytest.raises(ValueError, match="damaged"):
        texts(product.source)
    with pytest.warns(UserWarning, match="building it again"):
        prepare_product(*configure(lines))
    assert file.read_bytes() == whole


def test_nothing_left_is_refused_by_the_name_of_what_dropped_most(lines: Path) -> None:
    words = "clean.filters.stop_words.words=[of,the,many]"
    lines.write_text("".join(json.dumps({"text": "the many of " * n}) + "\n" for n in range(1, 41)))
    with pytest.raises(ValueError, match=r"nothing is left of the train.*stop_words dropped 3\d of 3"):
        prepare_product(*configure(lines, words))


def test_a_split_without_documents_is_prepared_and_no_text_to_train_on(tmp_path: Path, python: Any) -> None:
    for name in ("0.txt", "1.txt"):  # whose hashes send both to training
        (tmp_path / name).write_text("ham\tthe many \x00 words of a message\n")
    words = ("data=text", f"data.path={tmp_path}/?.t*", "trainer.accelerator=cpu")
    for more in ((), (*WORDS, "data/dedup=exact")):
        printed = python("-m", "triad.prepare", *words, *more).stdout
        assert "tokens are not made: data=text: the val split has no text; give more documents" in printed
    config = compose([*words, *WORDS])
    with pytest.raises(ValueError, match="the val split has no text"):
        prepare_source(config, build({"data": config["data"]} | find_parts(config)))
    (tmp_path / "0.txt").write_text("")
    (tmp_path / "1.txt").write_text("")
    source, preparation = configure(tmp_path / "?.t*")
    with pytest.raises(ValueError, match="the train split has no text"):
        prepare_product(source, preparation)


def test_a_source_without_a_preparation_stays_as_it_is(lines: Path) -> None:
    config = compose(["data=text", f"data.path={lines}", "trainer.accelerator=cpu"])
    assert not {"clean", "privacy", "dedup", "contamination"} & config.keys()
    preparation = make_preparation(config, {})
    assert not preparation.filters
    assert not preparation.searches


class Found(NamedTuple):
    dropped: dict[tuple[str, str], str]
    facts: dict[str, Any]


class ShortTexts:
    """A search, as deduplication is one: it reads twice and drops what is shortest."""

    def find_dropped(self, documents: Callable[[], Iterator[tuple[str, str, str]]], workspace: Path) -> Found:
        (workspace / "scratch").write_text("x")
        shortest = min(len(text) for _, _, text in documents())
        dropped = {(split, name): "cluster" for split, name, text in documents() if len(text) == shortest}
        return Found(dropped, {"shortest": shortest})


def test_a_search_sees_cleaned_texts_and_takes_its_documents_out(lines: Path) -> None:
    source, preparation = configure(lines)
    before = texts(prepare_product(source, preparation).source)
    search = replace(preparation, dedup=ShortTexts(), nodes=preparation.nodes | {"dedup": {}})
    product = prepare_product(source, search)
    shortest = min(map(len, before.values()))
    assert texts(product.source) == {key: text for key, text in before.items() if len(text) > shortest}
    assert product.facts["found"]["dedup"]["shortest"] == shortest
    assert (
        sum(product.facts["found"]["dedup"]["dropped"].values())
        == len(before) - len(texts(product.source))
        > 0
    )
    assert {path.name for path in product.folder.iterdir()} == {
        "train.jsonl.gz",
        "val.jsonl.gz",
        "manifest.json",
    }


def test_both_sides_of_a_pair_go_together_and_labels_stay(tmp_path: Path) -> None:
    pairs = [(f"Haus {i}", f"house {i}") for i in range(50)] + [
        ("same", "Same"),
        ("...", "dots"),
        ("x", "y" * 99),
    ]
    (tmp_path / "pairs.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in pairs))
    words = [
        "data=parallel",
        f"data.source={tmp_path / 'pairs.tsv'}",
        "task=translation",
        "model=encoder_decoder",
    ]
    words += ["batch=one", "data.val_fraction=0.3", "data/clean=parallel", "~clean.filters.encoding"]
    config = compose(["trainer.accelerator=cpu", *words])
    product = prepare_product(build(config["data"]), make_preparation(config, build(find_parts(config))))
    sides = [*texts(product.source).values()]
    assert sorted(zip(sides[::2], sides[1::2], strict=True)) == sorted([*pairs[:50], pairs[51]])
    (tmp_path / "labels.tsv").write_text("".join(f"{'ab'[i % 2]}\tdocument, {i}\n" for i in range(40)))
    words = [
        "data=labelled",
        f"data.path={tmp_path / 'labels.tsv'}",
        "data/clean=words",
        "~clean.filters.encoding",
    ]
    config = compose(["trainer.accelerator=cpu", "task=classification", "model=lstm", "batch=one", *words])
    source = build(config["data"])
    product = prepare_product(source, make_preparation(config, build(find_parts(config))))
    assert product.source.contents["train"].labels == ("a", "b")
    kept = [(one.name, one.label) for one in product.source.documents("train")]
    assert kept == [(one.name, one.label) for one in source.documents("train")]


def test_examples_are_read_from_the_source(lines: Path) -> None:
    source, preparation = configure(lines)
    facts = prepare_product(source, preparation).facts
    found = list(find_examples(source, preparation.filters, facts["steps"]))
    assert {(one.filter, one.what) for one in found} >= {
        ("clean.filters.control_characters", "changed"),
        ("clean.filters.stop_words", "empty"),
    }
    assert all(one.before != one.after for one in found)


def test_prepare_prints_a_table_and_text_only_when_asked(lines: Path, python: Any) -> None:
    words = ("data=text", f"data.path={lines}", *WORDS)
    printed = python("-m", "triad.prepare", *words, COLUMNS="80").stdout
    assert "clean.filters.stop_words" in printed
    assert "document 1" not in printed
    tables = [
        line for line in printed.splitlines() if not line.startswith(("product", "tokens", "vocabulary"))
    ]
    assert max(map(len, tables)) <= 80
    assert "document" in python("-m", "triad.prepare", *words, "examples=true").stdout
    alone = python("-m", "triad.prepare", "data=text", f"data.path={lines}", "trainer.accelerator=cpu").stdout
    assert "as it is" in alone


def mix(lines: Path, tmp_path: Path, *words: str) -> list[str]:
    """Words for a mixture of two texts in the place of the example's sources."""
    rows = (json.dumps({"text": "page of other text " * n}) for n in range(1, 51))
    (tmp_path / "other.jsonl").write_text("\n".join(rows))
    gone = [f"~data.{key}.{name}" for key in ("sources", "weights") for name in ("stdlib", "packages")]
    places = [f"data.sources.lines.path={lines}", f"data.sources.other.path={tmp_path}/other.jsonl"]
    added = [f"+data@data.sources.{name}=text" for name in ("lines", "other")]
    added += [f"+data.weights.{name}=1" for name in ("lines", "other")]
    return ["data=mixture", *gone, *added, *places, "tokenizer=byte", "trainer.accelerator=cpu", *words]


def test_each_source_of_a_mixture_is_prepared_as_it_is_alone(lines: Path, tmp_path: Path, capsys) -> None:
    prepare(mix(lines, tmp_path, *WORDS))
    said = capsys.readouterr().out
    products = sorted(re.findall(r"product: (\S+)", said))
    alone = prepare_product(*configure(lines))
    assert str(alone.folder) in products
    assert len(products) == 2
    sizes = re.findall(r"tokens of (\w+), train: ([\d,]+) tokens", said)
    assert [name for name, _ in sizes] == ["lines", "other"]
    assert int(sizes[0][1].replace(",", "")) == sum(
        len(text.encode()) + 1 for (split, _), text in texts(alone.source).items() if split == "train"
    )


def test_a_source_of_a_mixture_that_is_left_empty_is_refused_by_its_name(lines: Path, tmp_path: Path) -> None:
    with pytest.raises(NothingLeft, match=r"data\.sources\.other: data=text: nothing is left of the train"):
        prepare(mix(lines, tmp_path, *WORDS, "clean.filters.stop_words.words=[page,of,other,text]"))
