"""Ready data sets: out of a folder that has a copy, packed or not, or fetched once."""

import gzip
import hashlib
import io
import json
import lzma
import re
import tarfile
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.storage.publisher import Publisher
from triad.config.locations import CONF
from triad.data.sources.aeslc import aeslc
from triad.data.sources.published import Published

SHARED = Path(__file__).parents[3] / "shared" / "data"
NODES = {
    path.stem: node
    for path in sorted((CONF / "data").glob("*.yaml"))
    if "files" in (node := yaml.safe_load(path.read_text()))
}
COUNTS = {  # of the examples of each split
    "multi30k": (29_000, 1_014, 1_000),
    "sst2": (6_920, 872, 1_821),
    "wikitext2": (1, 1, 1),
    "aeslc": (14_436, 1_960, 1_906),
    "imdb": (22_493, 2_507, 4_965),  # of 5,000, without 35 that training has, too
    "squad": (85_965, 1_634, 5_665),
}
SLOW = ("imdb", "squad")


def make(name: str, **changes: Any) -> Any:
    module, _, function = NODES[name]["_target_"].rpartition(".")
    node = {key: value for key, value in NODES[name].items() if key != "_target_"}
    return getattr(import_module(module), function)(**node | changes)


def find_shared(name: str) -> Path:
    folder = SHARED / {"wikitext2": "wikitext-2", "shakespeare": "tinyshakespeare"}.get(name, name)
    if not folder.is_dir():
        pytest.skip(f"{name} is not on this machine")
    return folder


def test_the_ready_sets_are_there() -> None:
    assert NODES.keys() == {*COUNTS, "humaneval", "shakespeare"}


@pytest.mark.parametrize("name", NODES)
def test_what_is_fetched_is_said_exactly(name: str) -> None:
    node = NODES[name]
    assert re.match(r"(https://\S+/|git clone https://\S+)$", node["address"])
    for file, sha256, size_bytes in node["files"]:
        assert re.fullmatch(r"[0-9a-f]{64}", sha256), file
        assert size_bytes > 0
    assert name == "shakespeare" or node["licence"]


@pytest.mark.parametrize("name", [name for name in NODES if name not in ("imdb", "squad")])
def test_a_copy_has_the_bytes_that_are_published(name: str) -> None:
    """Those of the copies of IMDb and SQuAD were put together from other files."""
    folder = find_shared(name)
    for file, sha256, size_bytes in NODES[name]["files"]:
        data = (folder / file).read_bytes() if (folder / file).exists() else b""
        data = data or gzip.decompress((folder / f"{file}.gz").read_bytes())
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (sha256, size_bytes)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in COUNTS]
)
def test_a_set_has_its_splits(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = find_shared(name)
    monkeypatch.setenv("TRIAD_CACHE", str(tmp_path))
    source = make(name, path=str(folder))
    counts = tuple(sum(1 for _ in source.examples(split)) for split in ("train", "val", "test"))
    assert counts == COUNTS[name]
    assert source.name == name
    assert source.licence == NODES[name]["licence"]


def test_the_tests_of_emails_have_further_references() -> None:
    source = make("aeslc", path=str(find_shared("aeslc")))
    example = next(source.examples("test"))
    assert example["target"] == "Huntley/question"
    assert len(example["references"]) == 3
    assert "references" not in next(source.examples("train"))


def test_both_directions_of_multi30k_are_the_same_pairs() -> None:
    folder = str(find_shared("multi30k"))
    there, back = make("multi30k", path=folder), make("multi30k", path=folder, source="de", target="en")
    one, other = next(there.examples("test")), next(back.examples("test"))
    assert one == {"source": other["target"], "target": other["source"]}
    with pytest.raises(ValueError, match=r"data\.source=en data\.target=en: two languages"):
        make("multi30k", path=folder, target="en")


def test_humaneval_is_for_evaluation_only() -> None:
    source = make("humaneval", path=str(find_shared("humaneval")))
    tasks = [*source.examples("test")]
    assert len(tasks) == 164
    assert tasks[0]["entry_point"] == "has_close_elements"
    for split in ("train", "val"):
        with pytest.raises(ValueError, match="data=humaneval has a test split only, on which"):
            next(source.examples(split))


@pytest.mark.parametrize(
    ("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)], ids=["", "gz", "xz"]
)
def test_a_copy_may_be_packed_or_not(tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    files = {"train": "good\t1\nbad\t0\n", "dev": "fine\t1\n", "test": "poor\t0\n"}
    for name, text in files.items():
        (tmp_path / f"{name}.tsv{suffix}").write_bytes(pack(text.encode()))
    source = make("sst2", path=str(tmp_path))
    assert [*source.examples("train")] == [{"text": "good", "label": "1"}, {"text": "bad", "label": "0"}]
    assert [*source.examples("test")] == [{"text": "poor", "label": "0"}]


def test_the_first_examples_of_a_set_are_read_alone(tmp_path: Path) -> None:
    for side, part in product(("en", "de"), ("train", "val", "test_2016_flickr")):
        (tmp_path / f"{part}.{side}").write_text("".join(f"{part} {side} {n}\n" for n in range(5)))
    source = make("multi30k", path=str(tmp_path), examples=2)
    found = {split: [one["source"] for one in source.examples(split)] for split in ("train", "val", "test")}
    assert found["train"] == ["train en 0", "train en 1"]
    assert (len(found["val"]), len(found["test"])) == (2, 5)


def test_a_folder_without_the_files_says_what_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"has no train\.tsv, packed or not; .* fetch https://raw\S+/train"
    ):
        make("sst2", path=str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"no such folder; .* https://\S+dev-v1\.1\.json into a folder"
    ):
        make("squad", path=str(tmp_path / "absent"))


@pytest.mark.parametrize("name", [name for name in NODES if name != "aeslc"])
def test_without_a_network_one_sentence_says_what_to_fetch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIAD_CACHE", str(tmp_path))
    address = f"{tmp_path.as_uri()}/absent/"
    with pytest.raises(FileNotFoundError) as refused:
        make(name, address=address)
    said = str(refused.value)
    assert said.startswith(f"data={name}: cannot fetch {address}")
    assert all(f"{address}{file}" in said for file, *_ in NODES[name]["files"])
    assert said.endswith("into a folder, and give data.path=FOLDER")
    assert "\n" not in said


def test_what_is_published_as_a_repository_is_to_be_cloned() -> None:
    with pytest.raises(FileNotFoundError, match=r"run `git clone https://\S+ FOLDER`, and give data\.path="):
        make("aeslc")


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    monkeypatch.setenv("TRIAD_CACHE", str(tmp_path / "cache"))
    server = Publisher()
    yield server
    server.close()


def test_a_published_file_is_fetched_and_read(publisher: Publisher) -> None:
    publisher.data = gzip.compress(b"one two\n")
    sha256 = hashlib.sha256(publisher.data).hexdigest()
    address = publisher.url.removesuffix("data.bin")
    found = Published("numbers", None, address, [["data.bin", sha256, len(publisher.data)]]).find("data.bin")
    assert gzip.decompress(Path(found).read_bytes()) == b"one two\n"
    other = Published("numbers", None, address, [["data.bin", "0" * 64, len(publisher.data)]])
    with pytest.raises(
        ValueError, match=r"data=numbers: .*other bytes than were published.*; where there is a"
    ):
        other.find("data.bin")


def make_reviews(folder: Path) -> None:
    """An archive as the publisher of IMDb has it."""
    with tarfile.open(folder / "aclImdb_v1.tar.gz", "w:gz") as archive:
        reviews = {
            f"aclImdb/train/{label}/{n}_{n + 1}.txt": f"{label} {n}"
            for label, n in product(("pos", "neg"), range(9))
        }
        reviews |= {
            f"aclImdb/test/{label}/{n}_7.txt": f"{label} {n}"
            for label, n in product(("pos", "neg"), (8, 10, 2500))
        }
        reviews["aclImdb/train/unsup/0_0.txt"] = reviews["aclImdb/imdb.vocab"] = "none"
        for name, text in sorted(reviews.items(), reverse=True):
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))


def test_reviews_come_out_of_the_archive_and_those_of_training_are_not_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("TRIAD_CACHE", str(tmp_path / "cache"))
    make_reviews(tmp_path)
    source = make("imdb", path=str(tmp_path), val_fraction=0.3)
    learned = [example for split in ("train", "val") for example in source.examples(split)]
    assert sorted((one["text"], one["label"]) for one in learned) == [
        (f"{word} {n}", label) for word, label in (("neg", "0"), ("pos", "1")) for n in range(9)
    ]
    assert [*source.examples("test")] == [{"text": "neg 10", "label": "0"}, {"text": "pos 10", "label": "1"}]
    assert "data=imdb: left out 2 of the test split that training has, too" in capsys.readouterr().err
    (first, *_) = tmp_path.glob("cache/imdb-*/train.jsonl")
    assert json.loads(first.read_text().splitlines()[0]) == {
        "id": "train/neg/0",
        "label": 0,
        "rating": 1,
        "text": "neg 0",
    }


@pytest.mark.parametrize("data", [b"no archive", b""])
def test_what_is_no_archive_of_reviews_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setenv("TRIAD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "aclImdb_v1.tar.gz").write_bytes(data)
    with pytest.raises(ValueError, match=r"aclImdb_v1\.tar\.gz: cannot be read"):
        make("imdb", path=str(tmp_path))


def test_emails_are_gathered_from_a_clone_and_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIAD_CACHE", str(tmp_path / "cache"))
    files = []
    for split, rest in (
        ("train", ""),
        ("dev", "\n@ann0\na\n\n@ann1\nb\n\n@ann2\nc"),
        ("test", "\n@ann0\nx\n"),
    ):
        folder = tmp_path / "enron_subject_line" / split
        folder.mkdir(parents=True)
        (folder / "b_1.subject").write_text(f"\nDear {split},\n\nme@home\n\n@subject\nA line\n{rest}")
        email = {"id": "b_1", "body": f"Dear {split},\n\nme@home", "subject": "A line"}
        if rest:
            email["annotations"] = ["a", "b", "c"] if split == "dev" else ["x"]
        line = f"{json.dumps(email)}\n".encode()
        files.append([f"{split}.jsonl", hashlib.sha256(line).hexdigest(), len(line)])
    source = aeslc(str(tmp_path), None, "free", "git clone https://localhost/a", files)
    assert [*source.examples("val")] == [{"source": "Dear dev,\n\nme@home", "target": "A line"}]
    assert [*source.examples("test")] == [
        {"source": "Dear test,\n\nme@home", "target": "A line", "references": ["x"]}
    ]
    files[0][1] = "0" * 64
    with pytest.raises(
        ValueError, match=r"train: 1 e-mails, which are not those of data\.files; is the clone"
    ):
        aeslc(str(tmp_path), None, "free", "git clone https://localhost/a", files)
