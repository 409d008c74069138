"""Columns, dumps, pages, datasets and tokens, in files that other programs write; what is malformed."""

import bz2
import gzip
import json
import os
import pickle
import struct
from collections import Counter
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv as arrow_csv
from pyarrow import feather, parquet

from tests.data.test_files import ENDS, as_labelled, as_pairs, as_text, fill, read, refused, texts
from triad.data.preparation import make_preparation, prepare
from triad.data.rows import tokenize
from triad.data.sources import columnar, opening, reading
from triad.data.sources.html import html
from triad.data.sources.huggingface import huggingface
from triad.data.sources.source import Source, _find_files
from triad.data.sources.tokenized import tokenized
from triad.data.sources.wikipedia import wikipedia
from triad.data.token_files import prepare_tokens
from triad.data.tokenizers.byte import Byte, byte
from triad.data.tokenizers.learning import bpe
from triad.storage.manifest import read_manifest

AS_WRITTEN = ["NA", "null", "None", "nan", "007", "1e5", "true", "2024-01-05", " a ", 'say "hi"', "a,b\tc"]
AS_WRITTEN += [f"a{end}b" for end in ENDS] + ["two\nlines\r\nand a \r", "nul \0", "x" * 200_000, "\ufeffmark"]


def write_table(path: Path, columns: dict[str, list], **options: Any) -> Path:
    table = pa.table(columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(table, path, **options)
    elif path.suffix == ".arrow":
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=5)
    elif path.suffix == ".csv":
        arrow_csv.write_csv(table, path)
    return path


@pytest.mark.parametrize("end", [".parquet", ".arrow", ".csv"])
def test_values_of_columns_are_strings_as_written(tmp_path: Path, end: str) -> None:
    number = len(AS_WRITTEN)
    labels = [AS_WRITTEN[n % 3] for n in range(number)]
    columns = {
        "n": [*range(number)],
        "text": AS_WRITTEN,
        "label": labels,
        "b": [f"{n}" for n in range(number)],
    }
    options = {"row_group_size": 4} if end == ".parquet" else {}
    path = write_table(tmp_path / f"a{end}", columns, **options)
    assert sorted(texts(as_text(path))) == sorted(AS_WRITTEN)
    assert sorted((d.label, d.text) for d in read(as_labelled(path))) == sorted(
        zip(labels, AS_WRITTEN, strict=True)
    )
    pairs = texts(as_pairs(path, None, fields=["b", "text"]))
    assert {*zip(pairs[::2], pairs[1::2], strict=True)} == {
        (f"{n}", text) for n, text in enumerate(AS_WRITTEN)
    }


def test_the_rows_of_a_folder_of_tables_are_named_by_file_and_number(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", {"text": ["one", "two"]})
    feather.write_feather(pa.table({"text": ["three"]}), str(tmp_path / "b.arrow"), compression="lz4")
    fill(tmp_path, **{"c.csv": "n,text\r\n1,four\r\n", "d.tsv": "5\tfive\n", "e.txt": "text\tplain\n"})
    source = as_text(tmp_path, columns=["n", "text"])
    names = {d.name: d.text for d in read(source)}
    known = {"a.parquet:1": "one", "a.parquet:2": "two", "b.arrow:1": "three", "c.csv:2": "four"}
    assert names == known | {"d.tsv:1": "five", "e.txt": "text\tplain\n"}
    assert read(pickle.loads(pickle.dumps(source))) == read(source)
    assert names | {"d.tsv": "5\tfive\n"} == {d.name: d.text for d in read(as_text(tmp_path))} | {
        "d.tsv:1": "five"
    }


def test_labels_of_parquet_may_be_numbers_and_dictionaries(tmp_path: Path) -> None:
    kinds = {"a": pa.array([0, 1] * 10), "b": pa.array([True, False] * 10)}
    kinds["c"] = pa.array(["x", "y"] * 10).dictionary_encode()
    for name, labels in kinds.items():
        path = write_table(
            tmp_path / f"{name}.parquet", {"text": [f"t{n}" for n in range(20)], "label": labels}
        )
        found = Counter(document.label for document in read(as_labelled(path)))
        assert found == {json.dumps(label) if name < "c" else label: 10 for label in labels[:2].to_pylist()}


@pytest.mark.parametrize("end", [".parquet", ".arrow", ".csv"])
def test_a_column_that_is_not_there_is_named_before_any_text_is_read(
    tmp_path: Path, monkeypatch, end: str
) -> None:
    """Also in the last file of many, and where malformed records are skipped."""
    for number in range(3):
        write_table(
            tmp_path / f"{number}{end}", {"text" if number < 2 else "body": ["x"] * 9, "n": [*range(9)]}
        )
    read_rows = []
    monkeypatch.setattr(columnar, "_read_row", lambda *arguments: read_rows.append(arguments))
    for on_error in ("raise", "skip"):
        with pytest.raises(
            ValueError, match=rf"2{end}: no column 'text' \(it has: body, n\); set data.field"
        ):
            as_text(tmp_path, on_error=on_error)
    assert len(read_rows) <= 4
    with pytest.raises(ValueError, match=r"no column 'label' \(it has: text, n\); set data.label"):
        as_labelled(tmp_path / f"0{end}")
    with pytest.raises(ValueError, match=r"no column 'a' \(it has: text, n\); set data.fields"):
        as_pairs(tmp_path / f"0{end}", None)
    fill(tmp_path, **{"0.tsv": "a\tb\n"})
    with pytest.raises(ValueError, match=r"0.tsv: no column 'text', .*data.columns=.*: set data.field"):
        as_text(tmp_path / "0.tsv", columns=["a", "b"])


def test_memory_does_not_grow_with_a_row_group_of_parquet(tmp_path: Path) -> None:
    words = np.random.default_rng(0).integers(0, 10**9, (20_000, 60)).astype(str)
    column = [" ".join(row) for row in words]  # 12 MB in one row group
    path = write_table(
        tmp_path / "a.parquet", {"text": column, "n": [*range(len(column))]}, use_dictionary=False
    )
    size, before, peak = sum(map(len, column)), pa.total_allocated_bytes(), 0
    for document in as_text(path).read("train"):
        peak = max(peak, pa.total_allocated_bytes() - before)
        assert document.text in column[int(document.name.partition(":")[2]) - 1]
    assert peak < size / 5


def test_a_dictionary_that_repeats_a_long_text_is_a_bomb(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(opening, "BOMB_BYTES", 3 << 20)
    path = write_table(tmp_path / "a.parquet", {"text": pa.array(["x" * 10**5] * 200).dictionary_encode()})
    assert path.stat().st_size < 50_000
    assert "a decompression bomb? If it is meant, set data.max_bytes" in refused(lambda: as_text(path))
    assert "data.max_bytes=5000000: with" in refused(lambda: as_text(path, max_bytes=5_000_000))


def add(
    parent: ElementTree.Element, name: str, text: str | None = None, **attributes: str
) -> ElementTree.Element:
    made = ElementTree.SubElement(parent, name, attributes)
    made.text = text
    return made


def write_dump(path: Path, pages: list[tuple[str, str, str | None]]) -> list[str]:
    """A dump of pages (title, namespace, text or None for a redirect), in the members of a multistream."""
    root = ElementTree.Element(
        "mediawiki", {"xmlns": "http://www.mediawiki.org/xml/export-0.11/", "version": "0.11"}
    )
    info = add(root, "siteinfo")
    add(add(info, "namespaces"), "namespace", "Talk", key="1")
    for number, (title, namespace, text) in enumerate(pages):
        page = add(root, "page")
        add(page, "title", title)
        add(page, "ns", namespace)
        add(page, "id", str(number))
        if text is None:
            add(page, "redirect", title="Elsewhere")
        revision = add(page, "revision")
        add(revision, "comment", "no part of the text")
        add(revision, "text", "#REDIRECT [[Elsewhere]]" if text is None else text, bytes="1")
    data = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    cuts = [0, len(data) // 3, len(data) // 2, len(data)]
    members = [data[begin:end] for begin, end in pairwise(cuts)]
    path.write_bytes(b"".join(map(bz2.compress, members)) if path.suffix == ".bz2" else data)
    return [text for _, namespace, text in pages if namespace == "0" and text]


def as_dump(path: Path, **changes: Any) -> Source:
    options = {"val_path": None, "val_fraction": 0.3, "max_bytes": None, "on_error": "raise"}
    return wikipedia(str(path), **options | changes)


@pytest.mark.parametrize("name", ["a.xml", "a.xml.bz2"])
def test_articles_of_a_dump_come_with_their_wikitext(tmp_path: Path, name: str) -> None:
    pages = [
        (f"Title {n}", "0", f"'''Bold''' {n} & <ref>é</ref>\n\n[[link]]\u2028 {'x' * n * 999}")
        for n in range(99)
    ]
    pages += [("Talk:Title", "1", "talk"), ("Old", "0", None), ("Empty", "0", ""), ("Empty, too", "0", "")]
    kept = write_dump(tmp_path / name, pages)
    source = as_dump(tmp_path / name)
    assert sorted(texts(source)) == sorted(kept)
    assert source.skipped == {"empty": 2}
    split_of = {d.name: split for split in ("train", "val") for d in source.documents(split)}
    assert {*split_of} == {title for title, *_ in pages[:99]}
    assert 10 < [*split_of.values()].count("val") < 60
    write_dump(tmp_path / f"more-{name}", [("New", "0", "new"), *pages[::-1]])
    more = as_dump(tmp_path / f"more-{name}")
    assert (
        split_of.items()
        < {d.name: split for split in ("train", "val") for d in more.documents(split)}.items()
    )


def test_of_several_revisions_the_last_counts(tmp_path: Path) -> None:
    revisions = "".join(f"<revision><text>{n}</text></revision>" for n in range(3))
    fill(tmp_path, **{"a.xml": f"<mediawiki><page><title>A</title><ns>0</ns>{revisions}</page></mediawiki>"})
    assert texts(as_dump(tmp_path / "a.xml")) == ["2"]


WMT = """<!DOCTYPE srcset SYSTEM "ftp://jaguar.ncsl.nist.gov/mt/resources/mteval-xml-v1.3.dtd">
<{set} setid="newstest" srclang="any">
<doc sysid="ref" docid="one" genre="news" origlang="en">
<hl><seg id="1">{a} &amp; more</seg></hl>
<p>
<SEG id="2"> {a} two\nlines </SEG>
<seg id="3"></seg>
</p>
</doc>
<DOC docid='two'><p><seg id="1">{a}\u2028three &lt;b&gt;</seg></p></DOC>
</{set}>
"""
REUTERS = """<!DOCTYPE lewis SYSTEM "lewis.dtd">
<REUTERS TOPICS="YES" LEWISSPLIT="TRAIN" CGISPLIT="TRAINING-SET" OLDID="5544" NEWID="1">
<DATE>26-FEB-1987</DATE><TOPICS><D>cocoa</D></TOPICS>
<TEXT>&#2;
<TITLE>BAHIA &lt;COCOA> REVIEW</TITLE>
<DATELINE>    SALVADOR, Feb 26 - </DATELINE><BODY>Showers continued
    in the zone.
 Reuter
&#3;</BODY></TEXT>
</REUTERS>
<REUTERS TOPICS="NO" OLDID="5545" NEWID="2"><TEXT TYPE="BRIEF">&#2;<TITLE>A BRIEF</TITLE></TEXT></REUTERS>
"""


def as_html(path: Path, **changes: Any) -> Source:
    options = {"val_path": None, "val_fraction": 0.4, "max_bytes": None, "on_error": "raise"}
    return html(str(path), **options | changes)


def test_pages_and_documents_of_sgml_become_text(tmp_path: Path) -> None:
    page = "<html><head><title>no</title><script>no()</script></head>"
    page += "<body><h1>Top</h1><p>a <b>b</b> &amp; c</p></body>"
    fill(tmp_path, **{"a.html": page, "b.HTM.gz": gzip.compress(page.replace("Top", "Other").encode())})
    fill(
        tmp_path,
        **{"style.css": "p {}", "wmt.sgm": WMT.format(a="ä", set="refset"), "reut2-000.sgm": REUTERS},
    )
    found = {d.name: d.text for d in read(as_html(tmp_path))}
    assert found.pop("a.html").split("\n") == ["Top", "a b & c"]
    assert found.pop("b.HTM.gz").split("\n") == ["Other", "a b & c"]
    reuters = "BAHIA <COCOA> REVIEW\nShowers continued\n    in the zone.\n Reuter"
    assert found.pop("reut2-000.sgm:1") == reuters
    assert found.pop("reut2-000.sgm:2") == "A BRIEF"
    assert found == {"wmt.sgm:one": "ä & more\nä two lines\n", "wmt.sgm:two": "ä\u2028three <b>"}


def test_segments_of_two_files_of_sgml_are_pairs(tmp_path: Path) -> None:
    fill(tmp_path, **{f"{side}.sgm": WMT.format(a=side, set=f"{side}set") for side in ("src", "ref")})
    source = as_pairs(tmp_path / "src.sgm", tmp_path / "ref.sgm")
    pairs = texts(source)
    pairs = [*zip(pairs[::2], pairs[1::2], strict=True)]
    known = ("{} & more", "{} two lines", "{}\u2028three <b>")
    assert sorted(pairs) == sorted((line.format("src"), line.format("ref")) for line in known)
    assert next(_find_files(source.read)).skipped.reasons == {"empty": 1}


def as_hub(path: Path | str, **changes: Any) -> Source:
    options = {"name": None, "field": "text", "split": "train", "val_split": None, "val_fraction": 0.3}
    return huggingface(str(path), **options | {"max_bytes": None, "on_error": "raise"} | changes)


def by_split(source: Source) -> dict[str, list[str]]:
    return {split: [d.text for d in source.documents(split)] for split in ("train", "val")}


def test_what_save_to_disk_wrote_is_read_in_its_order(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets = pytest.importorskip("datasets", reason="it writes what is read here")
    train = datasets.Dataset.from_dict(
        {"text": [f"t{n} {AS_WRITTEN[n % 9]}" for n in range(2500)], "n": [*range(2500)]}
    )
    val = datasets.Dataset.from_dict({"text": ["v0", "v1"], "n": [0, 1]})
    datasets.DatasetDict({"train": train.shuffle(seed=1), "validation": val, "test": val}).save_to_disk(
        tmp_path / "both", num_shards={"train": 12, "validation": 1, "test": 1}
    )
    train.save_to_disk(tmp_path / "one")
    assert by_split(as_hub(tmp_path / "both")) == {
        "train": train.shuffle(seed=1)["text"][:],
        "val": ["v0", "v1"],
    }
    found = by_split(as_hub(tmp_path / "one"))
    assert sorted(found["train"] + found["val"]) == sorted(train["text"])
    assert 500 < len(found["val"]) < 1000
    assert by_split(as_hub(tmp_path / "both", split="test", val_split="train"))["train"] == ["v0", "v1"]
    with pytest.raises(ValueError, match=r"data.split=dev: .*both has test, train, validation"):
        as_hub(tmp_path / "both", split="dev")
    with pytest.raises(ValueError, match=r"no column 'body' \(it has: text, n\); set data.field"):
        as_hub(tmp_path / "both", field="body")


@pytest.mark.parametrize(
    "names",
    [
        (
            "data/train-00000-of-00002.parquet",
            "data/train-00001-of-00002.parquet",
            "data/validation-0.parquet",
        ),
        ("train/0000.parquet", "train/0001.parquet", "dev/0000.parquet"),
        ("my_train.jsonl", "my_training_2.jsonl.gz", "valid.csv"),
    ],
)
def test_a_snapshot_of_the_hub_says_its_splits_by_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    for number, name in enumerate(names):
        path = tmp_path / name
        if ".jsonl" in name:
            line = json.dumps({"text": f"t{number}", "n": number}).encode()
            fill(path.parent, **{path.name: gzip.compress(line) if name.endswith(".gz") else line})
        else:
            write_table(path, {"text": [f"t{number}"], "n": [number]})
    fill(tmp_path, **{"README.md": "# train", "dataset_infos.json": "{}", ".gitattributes": "train"})
    write_table(tmp_path / "test.parquet", {"text": ["never"], "n": [0]})
    assert by_split(as_hub(tmp_path)) == {"train": ["t0", "t1"], "val": ["t2"]}


def test_subsets_are_chosen_by_name_and_files_without_a_split_are_training(tmp_path: Path) -> None:
    for name in ("en", "de"):
        write_table(tmp_path / name / "train-0.parquet", {"text": [f"{name}{n}" for n in range(40)]})
    with pytest.raises(
        ValueError, match=r"split train lie in 2 folders \(de, en\); choose a subset with data.name"
    ):
        as_hub(tmp_path)
    found = by_split(as_hub(tmp_path, name="de"))
    assert sorted(found["train"] + found["val"]) == sorted(f"de{n}" for n in range(40))
    with pytest.raises(ValueError, match=r"data.name=fr: .* has no such folder \(it has: de, en\)"):
        as_hub(tmp_path, name="fr")
    (tmp_path / "de" / "train-0.parquet").rename(tmp_path / "de" / "part-0.parquet")
    assert by_split(as_hub(tmp_path, name="de"))["train"]
    with pytest.raises(ValueError, match=r"data\.val_split=train: is data\.split, too"):
        as_hub(tmp_path, name="de", val_split="train")


def test_a_name_on_the_hub_is_found_in_its_cache_and_else_says_what_to_fetch(
    tmp_path: Path, monkeypatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match="hf download ada/poems --repo-type dataset --local-dir FOLDER"
    ):
        as_hub("ada/poems")
    with pytest.raises(FileNotFoundError, match="no such folder, and no name on the hub"):
        as_hub(tmp_path / "absent")


def write_megatron(path: Path, documents: list[list[list[int]]], dtype: str, code: int) -> None:
    """As Megatron's IndexedDatasetBuilder writes documents of sequences: .bin, and .idx by its layout."""
    sequences = [sequence for document in documents for sequence in document]
    path.write_bytes(b"".join(np.array(sequence, dtype).tobytes() for sequence in sequences))
    lengths = [len(sequence) for sequence in sequences]
    starts = [0, *accumulate(length * np.dtype(dtype).itemsize for length in lengths)][:-1]
    firsts = [0, *accumulate(len(document) for document in documents)]
    index = b"MMIDIDX\x00\x00" + struct.pack("<Q", 1) + struct.pack("<B", code)
    index += struct.pack("<QQ", len(lengths), len(firsts))
    index += struct.pack(f"<{len(lengths)}i{len(starts)}q{len(firsts)}q", *lengths, *starts, *firsts)
    path.with_suffix(".idx").write_bytes(index)


def as_tokens(path: Path, **changes: Any) -> Source:
    return tokenized(str(path), **{"val_path": None, "val_fraction": 0.3, "dtype": "uint16"} | changes)


def cut(tokens: Any) -> list[list[int]]:
    """The documents of a token file."""
    firsts = tokens.documents[:, 0].tolist()
    return [tokens.tokens[a:b].tolist() for a, b in zip(firsts, [*firsts[1:], None], strict=True)]


@pytest.mark.parametrize(("dtype", "code"), [("<u2", 8), ("<i4", 4), ("<i8", 5), ("u1", 1)])
def test_tokens_of_megatron_are_used_as_they_are_with_its_documents(
    tmp_path: Path, dtype: str, code: int
) -> None:
    draw = np.random.default_rng(code)
    documents = [[draw.integers(0, 256, n % 7).tolist() for _ in range(n % 3 + 1)] for n in range(90)]
    write_megatron(tmp_path / "a.bin", documents, dtype, code)
    whole = [document for parts in documents if (document := [*chain(*parts)])]
    tokenizer, tokens = tokenize(as_tokens(tmp_path / "a.bin"), byte)
    assert sorted(cut(tokens.train) + cut(tokens.val)) == sorted(whole)
    assert 5 < len(tokens.val.documents) < 50
    assert tokens.train.bytes == len(tokens.train.tokens) == sum(map(len, cut(tokens.train)))
    assert tokens.xz_bits_per_byte is None
    assert tokens.val.document_at(0).name.startswith("a.bin:")
    other = prepare_tokens(as_tokens(tmp_path / "a.bin", val_fraction=0.5), tokenizer, tmp_path)
    assert other.fingerprint != tokens.fingerprint


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("TRIAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_tokens_of_nanogpt_are_one_document_cut_by_position_or_have_files(tmp_path: Path) -> None:
    text = "naïve text, in bytes. " * 50
    for name in ("train", "val"):
        np.frombuffer(f"{name}: {text}".encode(), np.uint8).astype(np.uint16).tofile(tmp_path / f"{name}.bin")
    _, tokens = tokenize(as_tokens(tmp_path / "train.bin", val_path=str(tmp_path / "val.bin")), byte)
    assert Byte().decode(tokens.train.tokens) == f"train: {text}"
    assert Byte().decode(tokens.val.tokens) == f"val: {text}"
    assert tokens.val.bytes_per_token == 1
    _, tokens = tokenize(as_tokens(tmp_path / "train.bin", val_fraction=0.25), byte)
    assert Byte().decode([*tokens.train.tokens, *tokens.val.tokens]) == f"train: {text}"
    assert len(tokens.val.tokens) / len(tokens.train.tokens) == pytest.approx(1 / 3, abs=0.01)
    np.arange(70_000, 70_050, dtype=np.uint32).tofile(tmp_path / "wide.bin")
    said = r"wide.bin: token 70000 at position 0, where the tokenizer has 257; give the one that made"
    with pytest.raises(ValueError, match=said):
        tokenize(as_tokens(tmp_path / "wide.bin", dtype="uint32"), byte)


def test_tokens_are_no_text_that_a_tokenizer_learns_from_or_a_filter_cleans(
    tmp_path: Path, cache: Path
) -> None:
    np.arange(200, dtype=np.uint16).tofile(tmp_path / "a.bin")
    source = as_tokens(tmp_path / "a.bin")
    with pytest.raises(ValueError, match=r"tokens and no text.*give the tokenizer that made the tokens"):
        bpe(source, cache, 300, True, 20 << 20, 0)
    node = {"clean": {"filters": {"strip": {"_target_": "str.strip"}}}}
    with pytest.raises(ValueError, match="tokens and no text"):
        prepare(source, make_preparation(node, {"clean": {"filters": {"strip": str.strip}}}))


MIXED = {
    "a.jsonl": b'{"text": "a1"}\n{"text": "a2"\n{"text": "a3", "text": "a3"}\n{"body": "a4"}\n\xff\n'
    b'{"text": ""}\n{"text": "a7"} {}\n{"text": 8}\n{"text": "\\ud800"}\n{"text": "a10"}',
    "b.csv": b'text,n\nb2,1\nb3\n"b\xe9\nb5",2\nb6,1\n"b7"x,1\nb8,1\n"open,1\n',
    "c.txt": b"fine\n",
    "d.txt": b"not \xff\n",
    "e.txt": b"",
    "f.jsonl.gz": gzip.compress(b'{"text": "f1"}\n{"text": "f2"}\n')[:-3],
    "g.parquet": b"PAR1",
    "h.jsonl": b"",
}
LEFT = {"not JSON": 3, "no text": 2, "not UTF-8": 3, "not Unicode": 1, "ragged row": 1, "not CSV": 2}
LEFT |= {"damaged": 2, "empty": 3}


def test_what_is_malformed_is_left_out_and_counted_by_reason(tmp_path: Path, cache: Path, capsys) -> None:
    source = as_text(fill(tmp_path / "a", **MIXED), on_error="skip")
    kept = {"a1", "a10", "b2", "b6", "b8", "fine\n"}
    assert {*texts(source)} == kept
    assert source.skipped == LEFT
    assert {*texts(source)} == kept
    assert pickle.loads(pickle.dumps(source)).skipped == LEFT
    capsys.readouterr()
    tokens = prepare_tokens(source, Byte(), cache)
    listed = ", ".join(f"{number} {reason}" for reason, number in sorted(LEFT.items()))
    assert f"left out {sum(LEFT.values())} records: {listed}\n" in capsys.readouterr().err
    assert read_manifest(tokens.train.folder)[0]["skipped"] == LEFT
    node = {"clean": {"filters": {"strip": {"_target_": "str.strip"}}}}
    product = prepare(source, make_preparation(node, {"clean": {"filters": {"strip": str.strip}}}))
    assert read_manifest(product.folder)[0]["skipped"] == LEFT
    assert f"left out {sum(LEFT.values())} records" in capsys.readouterr().err
    for path in (tmp_path / "a").iterdir():
        os.utime(path, ns=(10**18, 10**18))
    for _ in range(2):  # of the second the contents are known
        assert as_text(tmp_path / "a", on_error="skip").skipped == LEFT
    for name in MIXED.keys() - {"c.txt", "e.txt", "h.jsonl"}:
        refused(lambda name=name: as_text(tmp_path / "a" / name))


def test_a_pair_is_left_out_with_both_sides_and_the_others_stay_aligned(tmp_path: Path) -> None:
    fill(tmp_path, src=b"a\nb\xff\nc\nd\n\n", tgt=b"A\nB\nC\n\xe9\nE\n")
    source = as_pairs(tmp_path / "src", tmp_path / "tgt", on_error="skip")
    assert sorted(texts(source)) == ["A", "C", "a", "c"]
    assert next(_find_files(source.read)).skipped.reasons == {"not UTF-8": 2, "empty": 1}
    fill(tmp_path, tgt=b"A\n")
    assert "src has 5 lines" in refused(lambda: as_pairs(tmp_path / "src", tmp_path / "tgt", on_error="skip"))


def test_a_row_without_label_is_left_out_and_bounds_are_refused_all_the_same(tmp_path: Path) -> None:
    fill(tmp_path, **{"a.tsv": "x\tone\n \ttwo\nthree\nx\tfour\n"})
    source = as_labelled(tmp_path / "a.tsv", on_error="skip")
    assert sorted(texts(source)) == ["four", "one"]
    assert next(_find_files(source.read)).skipped.reasons == {"no label": 1, "ragged row": 1}
    assert "data.max_bytes=10" in refused(
        lambda: as_labelled(tmp_path / "a.tsv", on_error="skip", max_bytes=10)
    )


def test_a_line_that_is_too_long_is_left_out_alone(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(reading, "LONGEST", 100_000)
    fill(tmp_path, **{"a.tsv": "x\tone\nx\t" + "y" * 300_000 + "\nx\tthree\n"})
    source = as_labelled(tmp_path / "a.tsv", on_error="skip")
    assert sorted((d.name, d.text) for d in read(source)) == [("a.tsv:1", "one"), ("a.tsv:3", "three")]
    assert next(_find_files(source.read)).skipped.reasons == {"too long": 1}
