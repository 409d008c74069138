import bz2
import gzip
import hashlib
import json
import lzma
import os
import pickle
import tracemalloc
from importlib import import_module
from inspect import signature

import pytest
import yaml
import zstandard

from triad.config.locations import CONF
from triad.config.schema import read_attribute
from triad.data.sources import opening, reading
from triad.data.sources.labelled import labelled
from triad.data.sources.malformed import Skipped
from triad.data.sources.opening import Quota, TextFile
from triad.data.sources.parallel import parallel
from triad.data.sources.shakespeare import shakespeare
from triad.data.sources.stdlib import stdlib
from triad.data.sources.text import text as text_source

SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


def text(path, field, val_fraction, val_path, max_bytes=None):
    return text_source(path, field, val_fraction, val_path, None, max_bytes, None, "raise")


def write(folder, **contents):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_text(content)
    return str(folder)


def many(folder, count=50):
    return write(folder, **{f"{i:03}.txt": f"text {i}\n" for i in range(count)})


def names(source, split):
    return [document.name for document in source.documents(split)]


def read(source, split):
    return [(document.name, document.text) for document in source.documents(split)]


def split_of(source):
    return {name: split for split in ("train", "val") for name in names(source, split)}


def test_the_standard_library_is_there_without_its_tests():
    source = stdlib(0.04)
    split = split_of(source)
    assert len(split) > 400
    assert "json/decoder.py" in split
    assert not [name for name in split if {"test", "tests", "site-packages"} & set(name.split("/"))]
    assert 0.01 < list(split.values()).count("val") / len(split) < 0.08


KINDS = ("text", "pairs", "labels", "labelled pairs", "tags", "questions", "dialogues", "programs", "drafts")
KINDS += ("choices",)


@pytest.mark.parametrize("path", sorted((CONF / "data").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_source_says_by_the_class_that_it_returns_what_it_yields(path):
    module, _, function = yaml.safe_load(path.read_text())["_target_"].rpartition(".")
    kind = signature(getattr(import_module(module), function)).return_annotation
    assert read_attribute(f"{kind.__module__}.{kind.__name__}", "yields") in KINDS


def test_a_source_can_be_read_again_and_travels_to_another_process(tmp_path):
    source = text(many(tmp_path), "text", 0.1, None)
    again = pickle.loads(pickle.dumps(source))
    assert names(source, "train") == names(source, "train") == names(again, "train")
    assert source.contents == again.contents


def test_the_split_of_a_document_does_not_depend_on_other_files(tmp_path):
    few = split_of(text(many(tmp_path / "a", 50), "text", 0.2, None))
    lot = split_of(text(many(tmp_path / "b", 200), "text", 0.2, None))
    assert few.items() <= lot.items()
    assert set(few.values()) == {"train", "val"}


def test_a_single_file_is_cut_by_position(tmp_path):
    write(tmp_path, a="0123456789é\r\n")
    source = text(str(tmp_path / "a"), "text", 0.25, None)
    assert read(source, "train") == [("a", "012345678")]
    assert read(source, "val") == [("a", "9é\r\n")]


def test_validation_files_of_their_own_leave_all_others_for_training(tmp_path):
    source = text(many(tmp_path / "a", 3), "text", 0.1, write(tmp_path / "b", x="1", y="2"))
    assert names(source, "train") == ["000.txt", "001.txt", "002.txt"]
    assert names(source, "val") == ["x", "y"]


def test_folders_lists_and_globs_find_the_same_files(tmp_path):
    many(tmp_path / "a", 3)
    write(tmp_path / "a" / ".hidden", secret="x")
    expected = ["000.txt", "001.txt", "002.txt"]
    for path in (
        str(tmp_path / "a"),
        str(tmp_path / "a" / "*.txt"),
        [str(tmp_path / "a" / name) for name in expected],
    ):
        assert names(text(path, "text", 0.1, write(tmp_path / "b", x="other")), "train") == expected


@pytest.mark.parametrize(
    ("end", "squeeze"),
    [
        (".gz", gzip.compress),
        (".xz", lzma.compress),
        (".bz2", bz2.compress),
        (".zst", zstandard.ZstdCompressor().compress),
    ],
)
def test_compressed_files_read_as_their_text(tmp_path, end, squeeze):
    (tmp_path / f"plain.txt{end}").write_bytes(squeeze("héllo\n\tworld".encode()))
    (tmp_path / f"rows.jsonl{end}").write_bytes(squeeze(b'{"text": "one"}\n\n{"text": "two"}\n'))
    source = text(str(tmp_path), "text", 0.1, write(tmp_path.with_name("val"), x="other"))
    assert [document.text for document in source.documents("train")] == ["héllo\n\tworld", "one", "two"]
    assert names(source, "train")[1:] == [f"rows.jsonl{end}:1", f"rows.jsonl{end}:3"]


def test_a_damaged_compressed_file_is_named(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"text" * 100)[:-20])
    with pytest.raises(ValueError, match=r"a\.gz: cannot be read"):
        list(text(str(tmp_path / "a.gz"), "text", 0.1, None).documents("train"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"text": ', r"rows\.jsonl, line 2: not JSON"),
        ('{"body": "x"}', r"rows\.jsonl, line 2: no text under 'text' \(it has: body\); set data\.field"),
        ('{"text": 3}', r"rows\.jsonl, line 2: no text under 'text'"),
        ("[1]", r"rows\.jsonl, line 2: no text under 'text' \(it has: list\)"),
        ('{"text": "\\ud800"}', r"rows\.jsonl, line 2: half a surrogate"),
    ],
)
def test_a_bad_line_of_json_is_named_by_file_and_number(tmp_path, line, words):
    (tmp_path / "rows.jsonl").write_text('{"text": "fine"}\n' + line + "\n")
    with pytest.raises(ValueError, match=words):
        list(text(str(tmp_path / "rows.jsonl"), "text", 0.1, None).documents("train"))


def test_a_file_that_is_not_utf8_is_named_with_the_byte(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "rows.jsonl").write_bytes(b'{"text": "fine"}\n{"text": "caf\xe9"}\n')
    with pytest.raises(ValueError, match=r"latin\.txt, line 1: not UTF-8 at byte 3 \(0xe9\); convert"):
        list(text(str(tmp_path / "latin.txt"), "text", 0.1, None).documents("train"))
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 2: not UTF-8 at byte 30"):
        list(text(str(tmp_path / "rows.jsonl"), "text", 0.1, None).documents("train"))


def test_a_missing_file_and_an_empty_folder_are_named_with_their_key(tmp_path):
    for path in (tmp_path / "no.txt", tmp_path, tmp_path / "*.txt"):
        with pytest.raises(FileNotFoundError, match=r"data\.path: .* is no file"):
            text(str(path), "text", 0.1, None)
    with pytest.raises(FileNotFoundError, match=r"data\.val_path"):
        text(many(tmp_path / "a"), "text", 0.1, str(tmp_path / "no"))
    with pytest.raises(FileNotFoundError, match=r"data\.path: the list is empty"):
        text([], "text", 0.1, None)


def test_an_empty_split_says_what_to_change(tmp_path):
    with pytest.raises(ValueError, match="the train split has no text"):
        list(text(write(tmp_path / "a", x="", y=""), "text", 0.1, None).documents("train"))
    with pytest.raises(ValueError, match="the val split has no text; give more documents"):
        list(text(many(tmp_path / "b", 2), "text", 1e-9, None).documents("val"))


def test_a_fraction_outside_0_to_1_is_refused(tmp_path):
    for fraction in (0.0, 1.0, 10.0):
        with pytest.raises(ValueError, match=r"data\.val_fraction"):
            stdlib(fraction)


def test_the_fingerprint_changes_with_a_name_or_a_text(tmp_path):
    def of(folder, **contents):
        return text(
            write(tmp_path / folder, **contents), "text", 0.1, write(tmp_path / "val", z="other")
        ).contents["train"]

    same = of("a", x="1", y="2")
    assert same == of("b", x="1", y="2")
    assert same.bytes == 2
    others = [of("c", x="1", z="2"), of("d", x="1", y="3"), of("e", x="12", y="")]
    assert len({contents.fingerprint for contents in [same, *others]}) == 4


def test_memory_does_not_grow_with_the_number_of_lines(tmp_path):
    with (tmp_path / "rows.jsonl").open("w") as file:
        for i in range(20_000):
            file.write(json.dumps({"text": f"{i} " * 200}) + "\n")
    size = (tmp_path / "rows.jsonl").stat().st_size
    tracemalloc.start()
    contents = text(str(tmp_path / "rows.jsonl"), "text", 0.1, None).contents
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert contents["train"].bytes > 0.8 * size
    assert peak < 1e6 < size / 20


def age(folder):
    for path in folder.iterdir():
        os.utime(path, ns=(10**18, 10**18))


def test_files_are_read_for_their_fingerprint_once_until_one_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIAD_CACHE", str(tmp_path / "cache"))
    texts = many(tmp_path / "a")
    opened = []
    unpack = opening._unpack
    monkeypatch.setattr(opening, "_unpack", lambda path: opened.append(path.name) or unpack(path))

    def look(fraction=0.5):
        opened.clear()
        return text(texts, "text", fraction, None).contents

    new = look()
    look()
    assert len({*opened}) == 50  # changed a moment ago, they may change again unseen
    age(tmp_path / "a")
    assert (look(), len({*opened})) == (new, 50)
    assert (look(), opened) == (new, [])
    assert look(0.9) != new
    path = tmp_path / "a" / "007.txt"
    path.write_text("text 8\n")  # as long, and as old
    age(tmp_path / "a")
    changed = look()
    assert changed != new
    assert len({*opened}) == 50
    assert (look(), opened) == (changed, [])


def test_files_that_change_while_they_are_read_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIAD_CACHE", str(tmp_path / "cache"))
    texts = many(tmp_path / "a")
    age(tmp_path / "a")
    unpack = opening._unpack
    monkeypatch.setattr(opening, "_unpack", lambda path: os.utime(path) or unpack(path))
    with pytest.raises(ValueError, match="the text changed while it was read"):
        _ = text(texts, "text", 0.1, None).contents


@pytest.mark.parametrize("at", [0, opening.AT_ONCE - 1, opening.AT_ONCE, 3 * opening.AT_ONCE])
def test_a_large_file_is_the_same_text_in_pieces(tmp_path, at):
    whole = "x" * at + "é\r\n🙂 " * (opening.AT_ONCE // 3)
    (tmp_path / "a").write_text(whole, newline="")
    file = TextFile("a", tmp_path / "a", Quota(), Skipped())
    pieces = [*reading.read_pieces(file)]
    assert "".join(pieces) == whole
    assert max(map(len, pieces)) <= opening.AT_ONCE
    source = text(str(tmp_path / "a"), "text", 0.3, None)
    cut = int(len(whole) * 0.7)
    assert [document for split in ("train", "val") for document in read(source, split)] == [
        ("a", whole[:cut]),
        ("a", whole[cut:]),
    ]
    (tmp_path / "a").write_bytes(b"x" * at + b"\xe9" + whole.encode())
    with pytest.raises(ValueError, match=rf"a, line 1: not UTF-8 at byte {at} "):
        list(reading.Pieces(file))


def test_shakespeare_is_fetched_once_and_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIAD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "input.txt").write_text("To be, or not to be")
    sha256 = hashlib.sha256(b"To be, or not to be").hexdigest()
    address, files = f"{tmp_path.as_uri()}/", [["input.txt", sha256, 19]]
    with pytest.raises(ValueError, match="not tiny Shakespeare"):
        shakespeare(str(tmp_path / "input.txt"), address, files, SHA256)
    shakespeare(None, address, files, sha256)
    (tmp_path / "input.txt").unlink()
    source = shakespeare(None, address, files, sha256)
    assert [d.text for d in source.documents("train")] == ["To be, or not to "]
    assert [d.text for d in source.documents("val")] == ["be"]


def test_shakespeare_without_a_network_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIAD_CACHE", str(tmp_path))
    address, files = f"{tmp_path.as_uri()}/absent/", [["input.txt", SHA256, 19]]
    with pytest.raises(FileNotFoundError, match=r"cannot fetch .*; where .* fetch .*/absent/input\.txt into"):
        shakespeare(None, address, files, SHA256)
    with pytest.raises(FileNotFoundError, match=r"no such folder; where there is a network fetch"):
        shakespeare(str(tmp_path / "absent"), address, files, SHA256)


def test_tiny_shakespeare_has_the_split_of_nanogpt(tiny_shakespeare):
    assert [len(d.text) for d in tiny_shakespeare.documents("train")] == [1_003_854]
    assert [len(d.text) for d in tiny_shakespeare.documents("val")] == [111_540]


def write_records(path, texts, kind):
    """Documents, or pairs, in a file of a kind; a source that divides them."""
    lines = {
        "text": [json.dumps({"text": text}) for text in texts],
        "labelled": [json.dumps({"text": text, "label": "a"}) for text in texts],
        "parallel": [json.dumps({"source": text, "target": text[::-1]}) for text in texts],
    }[kind]
    path.write_text("".join(f"{line}\n" for line in lines))
    if kind == "parallel":
        return parallel(str(path), None, ["source", "target"], None, None, 0.3, None, None, [], None, "raise")
    if kind == "labelled":
        return labelled(str(path), None, 0.3, None, "text", "label", ["text", "label"], None, "raise")
    return text(str(path), "text", 0.3, None)


@pytest.mark.parametrize("kind", ["text", "labelled", "parallel"])
def test_a_record_stays_in_its_split_whatever_stands_before_it_and_equal_ones_share_it(tmp_path, kind):
    texts = [f"a text with number {number}" for number in range(60)]

    def divide(name, texts):
        made = write_records(tmp_path / name, texts, kind)
        return {split: [document.text for document in made.documents(split)] for split in ("train", "val")}

    old = divide("old.jsonl", texts)
    new = divide("new.jsonl", ["an inserted line", *reversed(texts), *texts[:30]])
    assert 5 < len({*old["val"]}) < 80
    for split in ("train", "val"):
        assert {*old[split]} == {*new[split]} & {*old["train"], *old["val"]}
    assert not {*new["train"]} & {*new["val"]}
