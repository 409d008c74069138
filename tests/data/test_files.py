"""Files as people have them: links, byte order marks, bombs, other names, and what is said of bad ones."""

import bz2
import csv
import gzip
import json
import lzma
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.warm import REPOSITORY
from triad.data.sources import opening, reading, records
from triad.data.sources.finding import find
from triad.data.sources.labelled import labelled
from triad.data.sources.opening import Quota
from triad.data.sources.parallel import parallel
from triad.data.sources.source import Document, Source
from triad.data.sources.text import text
from triad.data.token_files import prepare_tokens
from triad.data.tokenizers.byte import Byte

PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}
MARK = b"\xef\xbb\xbf"


def fill(folder: Path, **contents: str | bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def as_text(path: Any, **changes: Any) -> Source:
    options = {"field": "text", "val_fraction": 0.5, "val_path": None, "max_bytes": None}
    options |= {"columns": None, "on_error": "raise", "test_path": None}
    return text(str(path) if isinstance(path, Path) else path, **options | changes)


def as_labelled(path: Path, **changes: Any) -> Source:
    options = {"val_path": None, "val_fraction": 0.5, "text": "text", "label": "label", "on_error": "raise"}
    options["test_path"] = None
    return labelled(str(path), **options | {"columns": ["label", "text"], "max_bytes": None} | changes)


def as_pairs(source: Path, target: Path | None, **changes: Any) -> Source:
    options = {"fields": ["a", "b"], "val_source": None, "val_target": None, "val_fraction": 0.5}
    options |= {"test_source": None, "test_target": None, "references": []}
    return parallel(
        str(source), target and str(target), **options | {"max_bytes": None, "on_error": "raise"} | changes
    )


def read(source: Source) -> list[Document]:
    """The documents of both splits, of which one may have none."""
    return [document for split in ("train", "val") for document in source.read(split)]


def texts(source: Source) -> list[str]:
    return [document.text for document in read(source)]


def names(path: Path | str) -> list[str]:
    return [file.name for file in find(str(path), "data.path", Quota())]


def refused(make: Callable[[], Source]) -> str:
    """What is said, on one line that names a file, of a source that cannot be made or read."""
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        texts(make())
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_loop_of_links_is_read_once_under_the_names_of_the_files_themselves(tmp_path: Path) -> None:
    fill(tmp_path / "loop" / "a", **{"x.txt": "x"})
    fill(tmp_path / "loop", **{"y.txt": "y"})
    for link, place in {"a/up": "..", "a/again": "../a", "self": "self", "0": "a"}.items():
        (tmp_path / "loop" / link).symlink_to(place)
    for pattern in ("loop", "loop/**/*.txt", "loop/**", "loop/**/**/*.txt"):
        assert names(tmp_path / pattern) == ["a/x.txt", "y.txt"]
    assert names(tmp_path / "loop/*/up/*.txt") == ["0/up/y.txt"]


def test_links_to_files_and_folders_are_followed_and_each_file_is_read_once(tmp_path: Path) -> None:
    fill(tmp_path / "far" / "deep", **{"f.txt": "f"})
    fill(tmp_path / "near", **{"z.txt": "z", ".hidden": "h"})
    (tmp_path / "near" / "linked").symlink_to(tmp_path / "far")
    (tmp_path / "near" / "a.txt").symlink_to("z.txt")
    (tmp_path / "near" / "broken").symlink_to("nowhere")
    (tmp_path / "entry").symlink_to("near")
    for asked in ("near", "entry", "near/**/*.txt"):
        assert names(tmp_path / asked) == ["linked/deep/f.txt", "z.txt"]
    both = [str(tmp_path / "near"), str(tmp_path / "far"), str(tmp_path / "near" / "z.txt")]
    assert [file.name for file in find(both, "data.path", Quota())] == ["linked/deep/f.txt", "z.txt"]


def test_files_of_one_name_in_several_folders_have_names_of_their_own(tmp_path: Path) -> None:
    for folder in ("a/en", "b/en", "c/en", "b/other"):
        fill(tmp_path / folder, **{"x.txt": folder, f"{folder[0]}.txt": "alone", "en": "no folder"})
    asked = [str(tmp_path / folder) for folder in ("a/en", "b/en", "c/en")]
    found = [file.name for file in find(asked, "data.path", Quota())]
    assert found == ["a.txt", "en", "x.txt", "b.txt", "en/en", "en/x.txt", "c.txt", "c/en/en", "c/en/x.txt"]
    assert [file.name for file in find(asked[:1], "data.path", Quota())] == found[:3]
    documents = read(as_text(asked))
    assert len({document.name for document in documents}) == len(documents) == 9


@pytest.mark.parametrize(
    "pattern", ["*.txt", "*/*.txt", "**/*.txt", "a*/**/[x-z]?.txt", "b/*", "*/c/?1.txt", "**"]
)
def test_a_glob_matches_what_python_s_glob_does(tmp_path: Path, pattern: str) -> None:
    for folder in ("", "a", "a/c", "ab/c/d", "b"):
        fill(tmp_path / folder, **{"x1.txt": "1", "y1.txt": "2", "w1.TXT": "3", ".z1.txt": "4"})
    matches = tmp_path.glob(f"{pattern}/*" if pattern.endswith("**") else pattern)
    expected = {path for path in matches if path.is_file() and not path.name.startswith(".")}
    assert {file.path for file in find(str(tmp_path / pattern), "data.path", Quota())} == expected != set()


def test_files_of_both_splits_are_refused_by_name(tmp_path: Path) -> None:
    train = fill(tmp_path / "train", **{"a.txt": "one", "b.txt": "two", "empty": ""})
    (fill(tmp_path / "linked", **{"c.txt": "three"}) / "d.txt").symlink_to(train / "b.txt")
    said = refused(lambda: as_text(train, val_path=str(tmp_path / "linked")))
    assert "d.txt is in two splits at once, by data.path and data.val_path" in said
    copied = fill(tmp_path / "copied", **{"c.txt": "two", "empty": ""})
    said = refused(lambda: as_text(train, val_path=str(copied)))
    assert "c.txt of data.val_path is a copy of" in said
    assert "b.txt of data.path" in said
    fill(copied, **{"d.txt": "six"})  # a licence in both folders is no reason
    assert len(read(as_text(train, val_path=str(copied)))) == 4
    rows = fill(tmp_path / "rows", **{"a.tsv": "l\tx\n", "b.tsv": "l\tx\n", "c.tsv": "s\tt\n"})
    assert "b.tsv of data.val_path" in refused(
        lambda: as_labelled(rows / "a.tsv", val_path=str(rows / "b.tsv"))
    )
    said = refused(lambda: as_pairs(rows / "c.tsv", None, val_source=str(rows / "c.tsv")))
    assert "c.tsv is in two splits at once, by data.source and data.val_source" in said


def test_a_byte_order_mark_is_no_part_of_any_text(tmp_path: Path) -> None:
    rows = [{"label": "b", "text": "two"}, {"label": "a", "text": "one"}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    files = {
        "header.tsv": "label\ttext\nb\ttwo\na\tone\n",
        "bare.tsv": "b\ttwo\na\tone\n",
        "a.csv": "label,text\nb,two\na,one\n",
        "a.jsonl": lines,
        "a.json": json.dumps(rows),
    }
    for name, content in files.items():
        fill(
            tmp_path, **{name: MARK + content.encode(), f"{name}.gz": gzip.compress(MARK + content.encode())}
        )
        for path in (tmp_path / name, tmp_path / f"{name}.gz"):
            found = read(as_labelled(path))
            assert sorted((document.label, document.text) for document in found) == [
                ("a", "one"),
                ("b", "two"),
            ]
    for size in (3, opening.AT_ONCE):  # whole, and in pieces
        fill(tmp_path, **{"a.txt": MARK + b"x" * size + "\ufeff".encode()})
        assert "".join(texts(as_text(tmp_path / "a.txt"))) == "x" * size + "\ufeff"
    fill(tmp_path, src=MARK + b"a\nb\n", tgt="c\nd\n")
    assert sorted(texts(as_pairs(tmp_path / "src", tmp_path / "tgt"))) == ["a", "b", "c", "d"]
    fill(tmp_path, bad=MARK + b"x\n\xe9")
    assert "bad, line 2: not UTF-8 at byte 5 (0xe9)" in refused(lambda: as_text(tmp_path / "bad"))


@pytest.mark.parametrize("encoding", ["UTF-16", "UTF-16-BE", "UTF-32", "UTF-32-BE"])
@pytest.mark.parametrize("end", ["", ".gz", ".zst"])
def test_other_encodings_with_a_mark_are_named_with_the_command_that_converts(
    tmp_path, encoding, end
) -> None:
    data = ("\ufeff" * encoding.endswith("BE") + "text").encode(encoding)
    fill(tmp_path, **{f"a.txt{end}": PACK[end](data) if end else data})
    said = refused(lambda: as_text(tmp_path / f"a.txt{end}"))
    assert f"a.txt{end}: {encoding[:6]}, by its byte order mark" in said
    assert f"iconv -f {encoding[:6]} -t UTF-8" in said


@pytest.mark.parametrize("name", ["a.ndjson", "a.JSONL", "a.json", "a.Json.GZ", "a.NDJSON.zst", "a.jsonl.XZ"])
def test_json_by_other_names_is_read_as_documents(tmp_path: Path, name: str) -> None:
    rows = [{"text": f"number {number}", "label": number % 2 == 0} for number in range(20)]
    lines, end = "".join(json.dumps(row) + "\n" for row in rows), Path(name).suffix.lower()
    content = (lines if "l" in name.lower() or "nd" in name.lower() else json.dumps(rows, indent=1)).encode()
    fill(tmp_path, **{name: PACK[end](content) if end in PACK else content})
    assert sorted(texts(as_text(tmp_path / name))) == sorted(row["text"] for row in rows)
    found = {(document.text, document.label) for document in read(as_labelled(tmp_path / name))}
    assert found == {(row["text"], json.dumps(row["label"])) for row in rows}


def test_a_json_file_may_hold_one_document_and_none(tmp_path: Path) -> None:
    fill(
        tmp_path,
        **{"one.json": '\n{"text": "a b"}\n', "none.json": " [ ] ", "plain.TXT.GZ": gzip.compress(b"c")},
    )
    assert sorted(texts(as_text(tmp_path))) == ["a b", "c"]
    assert {document.name for document in read(as_text(tmp_path))} == {"one.json:1", "plain.TXT.GZ"}


BAD = [
    ("a.json", '[{"text": "a"},\n {"text": "b"\n', "a.json, line 3: not JSON (Expecting ',' delimiter"),
    ("a.json", '[{"text": "a"},\n]', "a.json, line 2: not JSON (Expecting value"),
    ("a.json", '[{"text": "a"}\n{"text": "b"}]', "a.json, line 2: not JSON (neither ',' nor ']'"),
    ("a.json", '{"text": "a"}\n{"text": "b"}\n', "a.json, line 2: not JSON (a second value); the name of"),
    ("a.json", '[{"text": "a"}]\n[]', "a.json, line 2: not JSON (a second value)"),
    ("a.json", "", "a.json, line 1: not JSON (Expecting value"),
    ("a.json", '[\n{"text": "a"},\n{"text": 3}]', "a.json, line 3: no text under 'text'"),
    ("a.json", '[\n{"text": "a", "text": "b"}]', "a.json, line 2: not JSON (the key 'text' comes twice)"),
    ("a.jsonl", '{"text": "a", "b": 1, "b": 2}', "a.jsonl, line 1: not JSON (the key 'b' comes twice)"),
    ("a.jsonl", '\n{"text": "a"} {"text": "b"}\n', "a.jsonl, line 2: not JSON (a second value on the line)"),
    ("a.jsonl", "[" * 100_000, "a.jsonl, line 1: not JSON (nested too deeply)"),
    ("a.jsonl", '{"text": ' + "9" * 5000 + "}", "a.jsonl, line 1: not JSON (Exceeds the limit"),
    ("a.jsonl", '{"text": "a"}\n"b"', "a.jsonl, line 2: no text under 'text' (it has: str)"),
    ("a.txt.gz", b"no gzip", "a.txt.gz: cannot be read"),
    ("a.txt.zst", b"no zstandard", "a.txt.zst: cannot be read"),
    ("a.txt.xz", b"no xz at all", "a.txt.xz: cannot be read"),
    ("a.txt", b"one\ntwo \xff", "a.txt, line 2: not UTF-8 at byte 8 (0xff)"),
    ("a.txt", b"one\n" * 20_000 + b"\xe2\x82", "a.txt, line 20001: not UTF-8 at byte 80000 (0xe2)"),
]


@pytest.mark.parametrize(("name", "content", "words"), BAD)
def test_what_cannot_be_read_is_named_with_file_and_line(tmp_path: Path, name, content, words) -> None:
    fill(tmp_path, **{name: content})
    assert words in refused(lambda: as_text(tmp_path / name))


BAD_ROWS = [
    (
        "a.csv",
        'label,text\nno,"first\nrecord"\nyes,second\nno,third,extra\n',
        "line 5: fields where the header",
    ),
    ("a.csv", 'label,text\nno,x\n\nno,"never\nclosed\n', "line 4: not CSV (unexpected end of data)"),
    ("a.csv", "label,text\nno,a\rb\n", "line 2: not CSV (new-line character"),
    ("a.csv", "label,text,text\nno,a,b\n", "line 1: the header names a column twice"),
    ("a.csv", b"label,text\nno,caf\xe9\n", "line 2: not UTF-8 at byte 17"),
    ("a.tsv", "label\ttext\nno\ta\tb\n", "line 2: 3 columns where data.columns="),
    ("a.tsv", b"no\ta\nno\t\xe9\n", "line 2: not UTF-8"),
]


@pytest.mark.parametrize(("name", "content", "words"), BAD_ROWS)
def test_a_bad_row_is_named_with_its_own_line(tmp_path: Path, name: str, content: str, words: str) -> None:
    fill(tmp_path, **{name: content})
    assert f"{name}, {words}" in refused(lambda: as_labelled(tmp_path / name))


def test_values_of_tables_and_json_are_strings_as_written(tmp_path: Path) -> None:
    values = [
        "NA",
        "null",
        "None",
        "nan",
        "007",
        "1e5",
        "true",
        "2024-01-05",
        "",
        " a ",
        'say "hi"',
        "a, b",
        "x" * 200_000,
    ]
    rows = [(f"c{n % 3}" if n else "NA", value) for n, value in enumerate(values)]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("label", "text"), *rows, ("c1", "two\nlines\r\nand a \r")])
    fill(tmp_path, **{"a.jsonl": "".join(json.dumps({"label": a, "text": b}) + "\n" for a, b in rows)})
    written = sorted((a, b) for a, b in rows if b)
    assert sorted((d.label, d.text) for d in read(as_labelled(tmp_path / "a.jsonl"))) == written
    found = {(d.label, d.text) for d in read(as_labelled(tmp_path / "a.csv"))}
    assert found == {*written, ("c1", "two\nlines\r\nand a \r")}
    fill(tmp_path, **{"a.tsv": 'no\t"5 inch board\nyes\ta plain line\r\nno\tthe 7" single\n'})
    found = {(d.label, d.text) for d in read(as_labelled(tmp_path / "a.tsv"))}
    assert found == {("no", '"5 inch board'), ("yes", "a plain line"), ("no", 'the 7" single')}


ENDS = "\u2028\u2029\u0085\x0c\x0b\x1c\x1d\x1e"


def test_only_a_newline_ends_a_line_in_every_reader(tmp_path: Path) -> None:
    lines = [f"a{end}b{number}" for number, end in enumerate(ENDS)]
    other = [f"c{number}" for number, _ in enumerate(ENDS)]
    fill(tmp_path, src="\r\n".join(lines), tgt="\n".join(other) + "\n")
    pairs = [d.text for d in as_pairs(tmp_path / "src", tmp_path / "tgt").read("train")]
    pairs += [d.text for d in as_pairs(tmp_path / "src", tmp_path / "tgt").read("val")]
    assert {*zip(pairs[::2], pairs[1::2], strict=True)} == {*zip(lines, other, strict=True)}
    kinds = {
        "a.tsv": "".join(f"l\t{line}\n" for line in lines),
        "a.csv": "label,text\n" + "".join(f"l,{line}\r\n" for line in lines),
        "a.jsonl": "".join(
            json.dumps({"label": "l", "text": line}, ensure_ascii=False) + "\n" for line in lines
        ),
    }
    for name, content in kinds.items():
        fill(tmp_path, **{name: content})
        assert sorted(texts(as_labelled(tmp_path / name))) == sorted(lines)


def test_files_that_are_not_aligned_are_named_with_the_line_and_json_is_not_taken_for_lines(tmp_path) -> None:
    fill(
        tmp_path, src="a\nb\nc\nd\n", tgt="a\nb\n", **{"a.jsonl": '{"a": "x", "b": "y"}\n', "b.jsonl": "{}\n"}
    )
    said = refused(lambda: as_pairs(tmp_path / "src", tmp_path / "tgt"))
    assert "src has 4 lines" in said
    assert "tgt 2, so line 3 of one has no translation" in said
    assert "a.jsonl: aligned files hold a sentence a line" in refused(
        lambda: as_pairs(tmp_path / "a.jsonl", tmp_path / "tgt")
    )
    assert texts(as_pairs(tmp_path / "a.jsonl", None)) == ["x", "y"]
    assert "b.jsonl, line 1: no text under 'a'" in refused(lambda: as_pairs(tmp_path / "b.jsonl", None))
    assert "data.source" in refused(lambda: as_pairs(tmp_path / "none", None))


def test_columns_in_the_other_order_are_refused_with_the_number_of_labels(tmp_path: Path) -> None:
    rows = "".join(f"sentence number {number}\t{number % 2}\n" for number in range(1200))
    fill(tmp_path, **{"a.tsv": rows})
    with pytest.raises(ValueError, match=r"data.label=label gives 1,200 labels to 1,200 documents") as error:
        _ = as_labelled(tmp_path / "a.tsv").contents
    assert "data.columns" in str(error.value)
    assert as_labelled(tmp_path / "a.tsv", columns=["text", "label"]).contents["train"].labels == ("0", "1")


@pytest.mark.parametrize("end", PACK)
def test_members_are_all_read_and_a_cut_file_is_an_error(tmp_path: Path, end: str) -> None:
    data = [b'{"text": "one"}\n{"te', b'xt": "two"}\n', b"", b'{"text": "three"}']
    packed = b"".join(map(PACK[end], data))
    name = f"a.jsonl{end}"
    fill(tmp_path, **{name: packed})
    assert sorted(texts(as_text(tmp_path / name))) == ["one", "three", "two"]
    for cut in range(1, 4 if end == ".zst" else 12):
        fill(tmp_path, **{name: packed[:-cut]})
        assert f"{name}: cannot be read" in refused(lambda: as_text(tmp_path / name))


def zeros(path: Path, size: int) -> Path:
    """A file that unpacks to so many zeros, made in constant memory."""
    block = bytes(1 << 20)
    openers = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": zstandard.open}
    with openers[path.suffix](path, "wb") as file:
        for _ in range(size >> 20):
            file.write(block)
    return path


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.tsv", "a.json"])
@pytest.mark.parametrize("end", PACK)
def test_a_bomb_is_refused_whatever_it_is_packed_with(
    tmp_path: Path, monkeypatch, name: str, end: str
) -> None:
    monkeypatch.setattr(opening, "BOMB_BYTES", 3 << 20)
    path = zeros(tmp_path / f"{name}{end}", 8 << 20)
    make = as_labelled if name in ("a.csv", "a.tsv") else as_text
    assert "a decompression bomb? If it is meant, set data.max_bytes" in refused(lambda: make(path))
    if name == "a.txt":
        assert sum(map(len, texts(make(path, max_bytes=8 << 20)))) == 8 << 20


def test_max_bytes_bounds_the_sum_of_all_files_unpacked(tmp_path: Path) -> None:
    fill(
        tmp_path / "a",
        **{"a.txt": "x" * 100, "b.txt.gz": gzip.compress(b"y" * 100), "c.jsonl": '{"text": "z"}'},
    )
    path, total = tmp_path / "a", 213
    (tmp_path / "b").write_text("w")
    for _ in range(2):  # reading again counts nothing twice
        assert len(read(as_text(path, max_bytes=total))) == 3
    source = as_text(path, max_bytes=total + 1, val_path=str(tmp_path / "b"))
    assert len(read(source)) == len(read(source)) == len(read(pickle.loads(pickle.dumps(source)))) == 4
    assert "b.txt.gz the files hold more, 213 bytes" in refused(lambda: as_text(path, max_bytes=total - 1))
    assert "data.max_bytes=213" in refused(
        lambda: as_text(path, max_bytes=total, val_path=str(tmp_path / "b"))
    )
    with pytest.raises(ValueError, match=r"data\.max_bytes=100: with .*c\.jsonl"):
        as_text(path, max_bytes=100)  # plain files, before they are read
    with pytest.raises(ValueError, match=r"data\.max_bytes=0: a number of bytes, or null"):
        as_text(path, max_bytes=0)


def test_what_is_held_in_memory_at_once_is_bounded(tmp_path: Path, monkeypatch) -> None:
    for module in (reading, records):
        monkeypatch.setattr(module, "LONGEST", 100_000)
    long = "x" * 120_000
    fill(
        tmp_path,
        **{"a.jsonl": f'{{"text": "a"}}\n{{"text": "{long}"}}\n', "a.json": f'["{long}"]', "a.tsv": long},
    )
    fill(tmp_path, **{"a.csv": 'label,text\nl,a\nl,"' + "x\n" * 60_000 + '"\n'})
    assert "a.jsonl, line 2: longer than the 100,000 bytes" in refused(lambda: as_text(tmp_path / "a.jsonl"))
    assert "a.json: longer than the 100,000 characters" in refused(lambda: as_text(tmp_path / "a.json"))
    assert "a.tsv, line 1: longer than" in refused(lambda: as_labelled(tmp_path / "a.tsv"))
    assert "a.csv, line 3: the row is longer" in refused(lambda: as_labelled(tmp_path / "a.csv"))


def test_a_file_whose_window_takes_too_much_memory_is_refused(tmp_path: Path, monkeypatch) -> None:
    wide = zstandard.ZstdCompressionParameters(window_log=29, compression_level=1)
    frame = zstandard.ZstdCompressor(
        compression_params=wide
    ).compressobj()  # of unknown size: the window counts
    fill(tmp_path, **{"a.zst": frame.compress(bytes(1 << 20)) + frame.flush()})
    assert "a.zst: cannot be read" in (said := refused(lambda: as_text(tmp_path / "a.zst")))
    assert "takes more than 128 MiB of memory" in said
    fill(tmp_path, **{"a.xz": lzma.compress(b"text")})  # a window of 8 MiB
    assert texts(as_text(tmp_path / "a.xz")) == ["te", "xt"]
    monkeypatch.setattr(opening, "WINDOW_BYTES", 4 << 20)
    assert "takes more than 4 MiB of memory" in refused(lambda: as_text(tmp_path / "a.xz"))


READ = """
import resource, sys
from tests.data.test_files import as_labelled, as_text
make = as_labelled if ".csv" in sys.argv[1] else as_text
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    _ = make(sys.argv[1]).contents
except ValueError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv"])
@pytest.mark.parametrize("end", [".gz", ".zst"])
def test_two_gigabytes_of_zeros_are_refused_in_constant_memory(tmp_path: Path, name: str, end: str) -> None:
    path = zeros(tmp_path / f"{name}{end}", 2 << 30)
    assert path.stat().st_size < 3 << 20
    words = [sys.executable, "-c", READ, str(path)]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    said, grown = done.stdout.splitlines()
    if name == "a.txt":
        assert "a decompression bomb? If it is meant, set data.max_bytes" in said
    else:  # whose one line is too long before the file is
        assert f"{name}{end}, line 1: longer than the 100,000,000 bytes" in said
    assert int(grown) << 10 < 500_000_000


def test_the_number_of_files_and_their_size_are_printed_when_they_are_prepared(
    tmp_path: Path, capsys
) -> None:
    fill(tmp_path / "a", **{f"{number}.txt": "x" * 100_000 for number in range(12)})
    source = as_text(tmp_path / "a")
    for _ in range(2):
        prepare_tokens(source, Byte(), tmp_path / "cache")
    assert capsys.readouterr().err == "data=text: read 12 files, 1.2 MB\n"
