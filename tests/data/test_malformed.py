"""Inputs that cannot be read: each is refused in one sentence with file, line or row, and none is a fault."""

import bz2
import gzip
import lzma
import random
import struct
from collections.abc import Callable
from functools import partial
from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet

from tests.data.test_files import as_labelled, as_pairs, as_text
from tests.data.test_readers import as_dump, as_html, as_hub, as_tokens, write_megatron
from triad.data.rows import tokenize
from triad.data.sources import opening
from triad.data.sources.malformed import Malformed, Skipped
from triad.data.sources.opening import Quota, TextFile
from triad.data.sources.reading import NEWLINE, read_lines
from triad.data.sources.source import Source
from triad.data.tokenizers.byte import byte

LINES = b"".join(b'{"text": "number %d %d"}\n' % (n, n * n) for n in range(9999))
PAGE = "<mediawiki>\n<page><title>A</title><ns>0</ns><revision><text>a</text></revision></page>\n"
BOMB = '<!DOCTYPE lolz [<!ENTITY lol "lol">\n<!ENTITY lol2 "&lol;&lol;&lol;&lol;&lol;&lol;">]>\n' + PAGE


def make_parquet(**columns: list) -> bytes:
    made = BytesIO()
    parquet.write_table(pa.table(columns or {"text": [f"number {n}" for n in range(999)]}), made)
    return made.getvalue()


def make_arrow(text: list | pa.Array) -> bytes:
    made = BytesIO()
    table = pa.table({"text": text})
    with pa.ipc.new_stream(made, table.schema) as writer:
        writer.write_table(table, max_chunksize=100)
    return made.getvalue()


def make_invalid() -> pa.Array:
    """Three texts of which the second is not UTF-8."""
    offsets, data = np.array([0, 3, 5, 8], np.int32), b"one\xff\xfetwo"
    return pa.StringArray.from_buffers(3, pa.py_buffer(offsets), pa.py_buffer(data))


def damage(data: bytes, at: int = 60, length: int = 300) -> bytes:
    return data[:at] + b"\xff" * length + data[at + length :]


def nest(times: int) -> str:
    """A page whose text is such a page, and so on."""
    return f"<p>{escape(nest(times - 1))}</p>" if times else "x"


def as_one(path: Path) -> Source:
    return as_pairs(path, None)


def as_two(path: Path) -> Source:
    return as_pairs(path, path.with_name("short"))


TEXT: list[tuple[str, bytes | str, str]] = [
    ("cut.jsonl.gz", gzip.compress(LINES)[:-9000], "cut.jsonl.gz: cannot be read (Compressed file ended"),
    ("trailer.jsonl.gz", gzip.compress(LINES)[:-1], "trailer.jsonl.gz: cannot be read (Compressed file"),
    ("sum.jsonl.gz", gzip.compress(LINES)[:-8] + bytes(8), "sum.jsonl.gz: cannot be read (CRC check failed"),
    ("cut.jsonl.bz2", bz2.compress(LINES)[:-9], "cut.jsonl.bz2: cannot be read (Compressed file ended"),
    ("cut.jsonl.xz", lzma.compress(LINES)[:-9], "cut.jsonl.xz: cannot be read (the file ends before"),
    ("cut.txt.zst", zstandard.compress(LINES)[:-9], "cut.txt.zst: cannot be read (the file ends before"),
    ("bad.txt.bz2", damage(bz2.compress(LINES)), "bad.txt.bz2: cannot be read (Invalid data stream)"),
    ("bad.txt.xz", damage(lzma.compress(LINES)), "bad.txt.xz: cannot be read (Corrupt input data)"),
    ("second.gz", gzip.compress(b"one\n") + gzip.compress(b"two\n")[:-4], "second.gz: cannot be read"),
    ("garbage.gz", gzip.compress(b"one\n") + b"garbage", "garbage.gz: cannot be read (Not a gzipped file"),
    ("mixed.jsonl", b'{"text": "caf\xc3\xa9"}\n{"text": "caf\xe9"}\n', "mixed.jsonl, line 2: not UTF-8 at"),
    ("mixed.csv", b"text\ncaf\xc3\xa9\ncaf\xe9\n", "mixed.csv, line 3: not UTF-8 at byte 14 (0xe9)"),
    ("surrogate.txt", b"one\n\xed\xa0\x80\n", "surrogate.txt, line 2: not UTF-8 at byte 4 (0xed)"),
    ("overlong.txt", b"\xc0\xaf", "overlong.txt, line 1: not UTF-8 at byte 0 (0xc0)"),
    ("nul.jsonl", b'{"text": "a\0b"}\n', "nul.jsonl, line 1: not JSON (Invalid control character"),
    ("nul.json", b"[\0]", "nul.json, line 1: not JSON (Expecting value"),
    ("binary.txt", bytes(range(256)), "binary.txt, line 2: not UTF-8 at byte 128 (0x80)"),
    ("wide.txt", "text".encode("utf-16"), "wide.txt: UTF-16, by its byte order mark"),
    ("quote.csv", 'text,n\n"never closed\nand on,1\n', "quote.csv, line 2: not CSV (unexpected end of data)"),
    ("inside.csv", 'text,n\n"in"side,1\n', "inside.csv, line 2: not CSV (',' expected after '\"')"),
    ("short.csv", "text,n\na,1\nb\n", "short.csv, line 3: fields where the header has 2: 1"),
    ("long.csv", "text,n\na,1,2\n", "long.csv, line 2: fields where the header has 2: 3"),
    ("twice.csv", "text,text\na,b\n", "twice.csv, line 1: the header names a column twice (text, text)"),
    ("column.csv", "body,n\na,1\n", "column.csv: no column 'text' (it has: body, n); set data.field"),
    ("column.jsonl", '{"body": "a", "n": 1}', "column.jsonl, line 1: no text under 'text' (it has: body, n)"),
    ("column.json", '[{"body": "a"}]', "column.json, line 1: no text under 'text' (it has: body)"),
    ("null.jsonl", '{"text": null}', "null.jsonl, line 1: no text under 'text'"),
    ("zero.parquet", b"", "zero.parquet: cannot be read (Parquet file size is 0 bytes)"),
    ("magic.parquet", b"PAR1" * 9, "magic.parquet: cannot be read ("),
    ("cut.parquet", make_parquet()[:-20], "cut.parquet: cannot be read (Parquet magic bytes not found"),
    ("bad.parquet", damage(make_parquet()), "bad.parquet: cannot be read (Corrupt snappy compressed data)"),
    ("column.parquet", make_parquet(body=["a"]), "column.parquet: no column 'text' (it has: body); set"),
    ("null.parquet", make_parquet(text=["a", None]), "null.parquet, row 2: no text under 'text'"),
    ("number.parquet", make_parquet(text=[1, 2]), "number.parquet, row 1: no text under 'text'"),
    ("bytes.parquet", make_parquet(text=[b"a"]), "bytes.parquet, row 1: no text under 'text'"),
    ("packed.parquet.gz", gzip.compress(make_parquet()), "packed.parquet.gz: compressed as a whole"),
    ("cut.arrow", make_arrow([f"number {n}" for n in range(999)])[:5000], "cut.arrow: cannot be read ("),
    ("none.arrow", b"not arrow at all, but text", "none.arrow: cannot be read ("),
    ("zero.arrow", b"", "zero.arrow: cannot be read ("),
    ("utf8.arrow", make_arrow(make_invalid()), "utf8.arrow, row 2: not UTF-8"),
]
OTHERS: list[tuple[Callable[[Path], Source], str, bytes | str, str]] = [
    (as_labelled, "cut.tsv.gz", gzip.compress(b"x\ta\n" * 9)[:-2], "cut.tsv.gz: cannot be read"),
    (as_labelled, "ragged.tsv", "x\ta\nb\n", "ragged.tsv, line 2: 1 columns where data.columns="),
    (as_labelled, "label.jsonl", '{"text": "a", "label": 1.5}', "label.jsonl, line 1: no text under 'label'"),
    (as_labelled, "empty.tsv", "x\ta\n\t\n", "empty.tsv, line 2: no label"),
    (as_labelled, "column.parquet", make_parquet(text=["a"]), "no column 'label' (it has: text); set"),
    (as_labelled, "plain.txt", "a\n", "plain.txt: labelled documents come as"),
    (as_one, "one.tsv", "a\tb\nc\n", "one.tsv, line 2: one column where"),
    (as_one, "p.parquet", make_parquet(a=["x"]), "no column 'b' (it has: a); set data.fields"),
    (as_two, "pairs", "a\nb\nc\n", "short 1, so line 2 of one has no"),
    (as_dump, "cut.xml", PAGE, "cut.xml, line 3: not XML (no element found)"),
    (as_dump, "cut.xml.bz2", bz2.compress(PAGE.encode())[:-9], "cut.xml.bz2: cannot be read"),
    (as_dump, "tags.xml", PAGE + "<page></mediawiki>", "tags.xml, line 3: not XML (mismatched tag)"),
    (as_dump, "entity.xml", BOMB, "entity.xml, line 1: declares the entity 'lol', as no dump does"),
    (as_dump, "unknown.xml", PAGE.replace("a</text>", "&eacute;</text>"), "unknown.xml, line 2: not XML ("),
    (as_dump, "title.xml", PAGE.replace("A</title>", "</title>"), "title.xml, line 2: a page without"),
    (as_dump, "text.xml", "no markup at all", "text.xml, line 1: not XML (syntax error)"),
    (as_dump, "latin.xml", PAGE.encode() + b"<page>\xe9</page></mediawiki>", "latin.xml, line 3: not XML"),
    (as_html, "latin.html", b"<p>one</p>\n<p>caf\xe9</p>", "latin.html, line 2: not UTF-8 at byte 17"),
    (as_html, "open.sgm", "\n<doc docid=1><seg>a</seg>\n", "open.sgm, line 2: not SGML (the document"),
    (as_html, "within.sgm", "<doc><seg>a\n<seg>b</seg></doc>", "within.sgm, line 2: not SGML (<seg> where"),
    (as_html, "doc.sgm", "<doc>\n<doc>\n</doc>", "doc.sgm, line 2: not SGML (<doc> where another is open)"),
    (as_html, "end.sgm", "</doc>", "end.sgm, line 1: not SGML (</doc> where none is open)"),
    (as_html, "deep.html", nest(6), "deep.html: the page spells tags by entities"),
    (as_html, "page.txt", "<p>a</p>", "page.txt: the train files are all of another kind than .html"),
    (as_tokens, "odd.bin", b"abc", "odd.bin: 3 bytes are no tokens of data.dtype=uint16"),
    (as_tokens, "zero.bin", b"", "zero.bin: 0 bytes are no tokens"),
    (
        as_tokens,
        "header.bin",
        struct.pack("<3i", 20240520, 1, 4) + bytes(1020),
        "header.bin: begins with llm",
    ),
    (as_tokens, "above.bin", np.array([5, 9, 300], "<u2").tobytes(), "above.bin: token 300 at position 2"),
    (as_tokens, "tokens.txt", b"ab", "tokens.txt: neither .bin nor .idx"),
]
INDEXES: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("magic", lambda index: b"TNTIDX\0\0" + index[8:], "a.idx: no index of Megatron, which begins"),
    ("empty", lambda index: b"", "a.idx: no index of Megatron"),
    ("cut", lambda index: index[:-1], "a.idx: 113 bytes, where 4 sequences take 114; is it cut off?"),
    ("version", lambda index: index[:9] + b"\2" + index[10:], "a.idx: version 2 with type 8"),
    ("float", lambda index: index[:17] + b"\7" + index[18:], "a.idx: version 1 with type 7"),
    ("lengths", lambda index: damage(index, 34, 1), "a.bin: not the tokens that a.idx"),
    ("starts", lambda index: damage(index, 58, 1), "a.bin: not the tokens that a.idx"),
    ("documents", lambda index: damage(index, len(index) - 8, 1), "a.bin: not the tokens that a.idx"),
]


def refuse(make: Callable[[], Source]) -> str:
    """What is said of a source that cannot be made, read or tokenised."""
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        tokenize(make(), byte)
    ours = error.traceback[-1].path
    assert "triad" in ours.parts, f"{ours} raises it"
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    return str(error.value)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TRIAD_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("make", "name", "content", "words"),
    [*((as_text, *case) for case in TEXT), *OTHERS],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 and "." in value else "",
)
def test_a_malformed_file_is_refused_by_name_and_line(tmp_path: Path, make, name, content, words) -> None:
    (tmp_path / "short").write_text("a\n")
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert words in refuse(lambda: make(tmp_path / name))


@pytest.mark.parametrize(("what", "change", "words"), INDEXES)
def test_an_index_of_megatron_that_is_wrong_is_refused(tmp_path: Path, what: str, change, words: str) -> None:
    write_megatron(tmp_path / "a.bin", [[[1, 2, 3], [4]], [[5, 6]], [[7]]], "<u2", 8)
    index = tmp_path / "a.idx"
    index.write_bytes(change(index.read_bytes()))
    assert words in refuse(lambda: as_tokens(tmp_path / "a.bin"))


def test_tokens_that_are_cut_off_are_refused(tmp_path: Path) -> None:
    write_megatron(tmp_path / "a.bin", [[[1, 2, 3], [4]], [[5, 6]]], "<u2", 8)
    whole = (tmp_path / "a.bin").read_bytes()
    for data in (whole[:-2], whole + b"\0\0"):
        (tmp_path / "a.bin").write_bytes(data)
        assert "a.bin: not the tokens that a.idx" in refuse(lambda: as_tokens(tmp_path / "a.bin"))


@pytest.mark.parametrize("make", [as_text, as_labelled, as_one, as_dump, as_html, as_tokens])
def test_a_folder_without_files_is_refused_by_its_key(tmp_path: Path, make) -> None:
    (tmp_path / "folder" / "below").mkdir(parents=True)
    for name in ("folder", "absent"):
        said = refuse(partial(make, tmp_path / name))
        assert f"{name}' is no file, folder with files or glob" in said


def test_a_dataset_that_is_not_there_or_damaged_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert "data.split=train: " in refuse(lambda: as_hub(tmp_path / "folder"))
    (tmp_path / "folder" / "state.json").write_text('{"_data_files": 3}')
    assert "state.json: not what save_to_disk writes" in refuse(lambda: as_hub(tmp_path / "folder"))
    (tmp_path / "folder" / "state.json").write_text('{"_data_files": [{"filename": "absent.arrow"}]}')
    assert "absent.arrow: cannot be read" in refuse(lambda: as_hub(tmp_path / "folder"))


def test_lines_are_what_lies_between_newlines_and_bad_ones_are_counted(tmp_path: Path, monkeypatch) -> None:
    """Whatever the blocks are that a file comes in."""
    monkeypatch.setattr(opening, "AT_ONCE", 7)
    draw, path = random.Random(0), tmp_path / "a"
    parts = [b"a", b"\n", b"\r\n", b"\n\n", b"xyz", b"\xff", *(c.encode() for c in ("é", "\u2028", "\ufeff"))]
    for _ in range(1000):
        path.write_bytes(data := b"".join(draw.choices(parts, k=draw.randrange(40))))
        lines = data.removeprefix("\ufeff".encode()).split(b"\n")
        lines = [line + b"\n" for line in lines[:-1]] + [line for line in lines[-1:] if line]
        sound = [line.decode() if b"\xff" not in line else "" for line in lines]
        skipped = Skipped("skip")
        assert [*read_lines(TextFile("a", path, Quota(), skipped))] == sound
        assert sum(skipped.reasons.values()) == sound.count("")
        if b"\xff" in data:
            at = data.index(b"\xff")
            place = f"line {data.count(NEWLINE, 0, at) + 1}: not UTF-8 at byte {at} "
            with pytest.raises(Malformed, match=place):
                list(read_lines(TextFile("a", path, Quota(), Skipped())))
