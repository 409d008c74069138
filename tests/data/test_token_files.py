import json
import lzma
import multiprocessing
import pickle
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.data.rank import prepare_and_report
from triad.data.packing import pack
from triad.data.show import describe_batch
from triad.data.sources.source import Document, Source
from triad.data.sources.text import text
from triad.data.token_files import TokenFile, prepare_tokens
from triad.data.tokenizers.byte import byte
from triad.data.tokenizers.char import char
from triad.data.tokenizers.learning import bpe

TEXTS = {"a.txt": "première\n", "b.txt": "zweite 🙂\n" * 30, "c.txt": "third"}
VAL = "vierte 🙂\n" * 30

SAMPLE = {"hard_vocab_limit": True, "sample_bytes": 1 << 20, "sample_seed": 0}


@pytest.fixture
def source(tmp_path):
    for name, content in TEXTS.items():
        (tmp_path / "texts").mkdir(exist_ok=True)
        (tmp_path / "texts" / name).write_text(content)
    (tmp_path / "val.txt").write_text(VAL)
    return text(str(tmp_path / "texts"), "text", 0.1, str(tmp_path / "val.txt"), None, None, None, "raise")


def test_tokens_are_the_documents_in_order_each_with_its_separator(source, tmp_path):
    tokenizer = byte(source, tmp_path)
    tokens = prepare_tokens(source, tokenizer, tmp_path)
    expected = [id for content in TEXTS.values() for id in [*content.encode(), 256]]
    assert tokens.train.tokens.tolist() == expected
    assert tokens.train.tokens.dtype == np.uint16
    assert tokens.train.bytes == sum(len(content.encode()) for content in TEXTS.values())
    assert tokens.val.bytes == len(VAL.encode())


def test_a_large_vocabulary_takes_four_bytes_a_token(source, tmp_path):
    tokenizer = byte(source, tmp_path)
    tokenizer.pieces = tokenizer.pieces + [b"x"] * 2**16
    assert prepare_tokens(source, tokenizer, tmp_path).val.tokens.dtype == np.uint32


def test_the_second_run_reads_the_cache_and_other_text_or_tokenizer_does_not(source, tmp_path, monkeypatch):
    tokenizer = byte(source, tmp_path)
    first = prepare_tokens(source, tokenizer, tmp_path)
    other = prepare_tokens(source, bpe(source, tmp_path, 290, **SAMPLE), tmp_path)
    assert other.fingerprint != first.fingerprint
    monkeypatch.setattr(tokenizer, "encode", None)
    assert prepare_tokens(source, tokenizer, tmp_path) == first


def test_a_position_is_found_in_its_document(source, tmp_path):
    tokens = prepare_tokens(source, byte(source, tmp_path), tmp_path).train
    starts = np.cumsum([0] + [len(content.encode()) + 1 for content in TEXTS.values()])
    for position in range(len(tokens.tokens)):
        place = tokens.document_at(position)
        document = int(np.searchsorted(starts, position, side="right")) - 1
        assert place == (list(TEXTS)[document], starts[document], position - starts[document])
    with pytest.raises(ValueError, match="position=-1"):
        tokens.document_at(-1)


def test_xz_bits_per_byte_is_that_of_the_validation_text(source, tmp_path, monkeypatch):
    data = VAL.encode()
    packed = lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)
    tokens = prepare_tokens(source, byte(source, tmp_path), tmp_path / "a")
    assert tokens.xz_bits_per_byte == 8 * len(packed) / len(data)
    monkeypatch.setattr("triad.data.compression.measure_xz", None)  # the text was measured before
    other = prepare_tokens(source, char(source, tmp_path), tmp_path / "a")
    assert other.fingerprint != tokens.fingerprint
    assert other.xz_bits_per_byte == tokens.xz_bits_per_byte
    monkeypatch.setattr("triad.data.compression.LIMIT_BYTES", 10)
    assert prepare_tokens(source, byte(source, tmp_path), tmp_path / "b").xz_bits_per_byte is None


def test_a_text_that_is_gone_when_it_is_compressed_ends_no_run(source, tmp_path):
    tokens = prepare_tokens(source, byte(source, tmp_path), tmp_path)
    (tmp_path / "val.txt").unlink()
    assert tokens.xz_bits_per_byte is None


def test_an_empty_split_is_refused(tmp_path):
    def read(split):
        return iter([Document("a", "text" if split == "train" else "")])

    source = Source("rows", read)
    with pytest.raises(ValueError, match="data=rows: the val split has no text"):
        prepare_tokens(source, byte(source, tmp_path), tmp_path)


def test_a_text_that_changes_while_it_is_read_is_refused(tmp_path):
    grown = iter(["text", "text", "text and more"])
    source = Source("log", lambda split: iter([Document("a", next(grown))]))
    with pytest.raises(ValueError, match="the train text changed while it was read"):
        prepare_tokens(source, byte(source, tmp_path), tmp_path)


def test_a_damaged_token_file_is_built_again(source, tmp_path):
    tokenizer = byte(source, tmp_path)
    tokens = prepare_tokens(source, tokenizer, tmp_path)
    expected = tokens.train.tokens.tolist()
    path = tokens.train.folder / "train.bin"
    path.write_bytes(path.read_bytes()[:-2] + b"xx")
    with pytest.warns(UserWarning, match=r"train\.bin has a wrong checksum"):
        again = prepare_tokens(source, tokenizer, tmp_path)
    assert again.train.tokens.tolist() == expected


def test_four_ranks_prepare_the_same_tokens_once(source, tmp_path):
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    ranks = [
        context.Process(target=prepare_and_report, args=(source, tmp_path / "c", answers)) for _ in range(4)
    ]
    for rank in ranks:
        rank.start()
    found = [answers.get(timeout=60) for _ in ranks]
    for rank in ranks:
        rank.join()
    assert found == [found[0]] * 4
    entries = [path.name for path in (tmp_path / "c").iterdir() if path.is_dir()]
    assert sorted(name.split("-")[0] for name in entries) == ["tokenizer", "tokens"]


def test_a_token_file_travels_to_another_process_without_its_tokens(source, tmp_path):
    tokens = prepare_tokens(source, byte(source, tmp_path), tmp_path).train
    expected = tokens.tokens.tolist()
    sent = pickle.dumps(tokens)
    assert len(sent) < 1000
    assert pickle.loads(sent).tokens.tolist() == expected


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    with (tmp_path / "rows.jsonl").open("w") as file:
        for i in range(10_000):
            file.write(json.dumps({"text": f"{i} " * 200}) + "\n")
    source = text(str(tmp_path / "rows.jsonl"), "text", 0.001, None, None, None, None, "raise")
    tokenizer = byte(source, tmp_path)
    small = text(str(tmp_path / "rows.jsonl"), "text", 0.002, None, None, None, None, "raise")
    prepare_tokens(small, tokenizer, tmp_path)  # warm the imports
    tracemalloc.start()
    tokens = prepare_tokens(source, tokenizer, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert tokens.train.bytes > 8e6
    assert peak < 2e6


def plain_file(folder, repeated):
    lines = "".join(f"première {i} 🙂\n" for i in range(3000))
    whole = lines + "no end of a line " * repeated + lines
    (folder / "a.txt").write_text(whole)
    return whole, text(str(folder / "a.txt"), "text", 0.01, None, None, None, None, "raise")


@pytest.mark.parametrize(
    "make", [byte, char, partial(bpe, vocab_size=300, **SAMPLE)], ids=["byte", "char", "bpe"]
)
def test_a_plain_file_becomes_the_tokens_of_its_whole_text(tmp_path, make):
    whole, source = plain_file(tmp_path, 9_000)
    tokenizer = make(source, tmp_path)
    train = tokenizer.encode(whole[: int(len(whole) * 0.99)])
    tokens = prepare_tokens(source, tokenizer, tmp_path).train.tokens.tolist()
    assert tokens == [*train, *([] if make is char else [tokenizer.separator])]
    assert tokenizer.decode(train) == whole[: int(len(whole) * 0.99)]


def test_memory_does_not_grow_with_a_plain_file(tmp_path):
    _, source = plain_file(tmp_path, 300_000)
    prepare_tokens(
        text(str(tmp_path / "a.txt"), "text", 0.02, None, None, None, None, "raise"),
        byte(source, tmp_path),
        tmp_path,
    )
    tracemalloc.start()
    tokens = prepare_tokens(source, byte(source, tmp_path), tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(tokens.train.tokens) > 5e6
    assert peak < 4e6  # of which xz takes half; the ids alone would be 40e6


def test_training_s_tokens_are_read_where_rows_are_and_not_ahead(source, tmp_path):
    train = prepare_tokens(source, byte(source, tmp_path), tmp_path).train
    assert train.tokens.sum() > 0
    maps = Path("/proc/self/smaps").read_text().partition(f"{train.folder / 'train.bin'}\n")[2]
    assert " rr " in maps.partition("VmFlags:")[2].partition("\n")[0]  # advised: random reads


def test_rows_of_a_batch_are_found_without_a_look_at_all_documents(tmp_path):
    documents = 4_000_000
    with (tmp_path / "train.documents.bin").open("wb") as file:
        np.arange(0, 2 * 10 * documents, 10, np.int64).tofile(file)
    with (tmp_path / "train.bin").open("wb") as file:
        file.truncate(2 * 20 * documents)
    tokens = TokenFile(tmp_path, "train", "uint16", 1)
    tracemalloc.start()
    rows = pack(tokens, 64, "none")
    places = rows.locate(np.arange(documents - 8, documents + 8), seed=0)
    firsts, lengths = rows.find_firsts(places), rows.measure(places)["lengths_R"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (firsts % 20 == 0).all()
    assert lengths.tolist() == [19] * 16
    assert tokens.spans(np.array([0, documents - 1]))[1].tolist() == [20, 20 * documents]
    assert peak < 100_000


def test_tokens_around_those_of_a_row_of_training_are_not_read_ahead(tmp_path):
    for split, random in (("train", True), ("val", False)):
        np.arange(5000, dtype=np.uint16).tofile(tmp_path / f"{split}.bin")
        tokens = TokenFile(tmp_path, split, "uint16", 1).tokens
        maps = Path("/proc/self/smaps").read_text().partition(f"{tmp_path}/{split}.bin")[2]
        flags = next(line for line in maps.splitlines() if line.startswith("VmFlags:")).split()
        assert ("rr" in flags) == random
        assert tokens[4999] == 4999


def test_a_batch_is_described_by_document_and_offset(source, tmp_path):
    tokenizer = bpe(source, tmp_path, 290, **SAMPLE)
    tokens = prepare_tokens(source, tokenizer, tmp_path).train
    windows = pack(tokens, 4, "windows")
    rows = describe_batch(
        {"": tokens}, tokenizer, windows, lambda _: 3, lambda step: 3 * step, seed=0, step=2
    )
    assert [row.row for row in rows] == [6, 7, 8]
    for row in rows:
        rest = TEXTS[row.document].encode()[row.byte_offset :].decode(errors="replace")
        assert rest.startswith(row.preview) or row.preview.startswith(rest)
