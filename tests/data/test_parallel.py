"""Parallel text: where pairs come from, and how they are dealt into batches."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from triad.data.length_buckets import LengthBuckets
from triad.data.pairs import PairFile, TrainPairs, ValPairs
from triad.data.sources.letters import letters
from triad.data.sources.parallel import parallel
from triad.data.token_files import prepare_tokens
from triad.data.tokenizers.byte import Byte
from triad.data.tokenizers.tokenizer import load_tokenizer

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def sides(number: int) -> list[tuple[str, str]]:
    rows = np.random.default_rng(0).integers(0, 10, (number, 6))
    lengths = np.random.default_rng(1).integers(1, 7, number)
    return [
        (" ".join(WORDS[n] for n in row[:length]), "".join(map(str, row[:length])))
        for row, length in zip(rows, lengths, strict=True)
    ]


def written(folder: Path, pairs: list[tuple[str, str]], kind: str) -> dict:
    if kind == "aligned":
        for side in (0, 1):
            (folder / f"side{side}.txt").write_text("".join(pair[side] + "\n" for pair in pairs))
        return {"source": str(folder / "side0.txt"), "target": str(folder / "side1.txt")}
    if kind == "tsv":
        (folder / "both.tsv").write_text("".join(f"{a}\t{b}\tmore\n" for a, b in pairs))
        return {"source": str(folder / "both.tsv"), "target": None}
    (folder / "both.jsonl").write_text("".join(json.dumps({"en": a, "de": b}) + "\n" for a, b in pairs))
    return {"source": str(folder / "both.jsonl"), "target": None}


def source(folder: Path, pairs: list[tuple[str, str]], kind: str = "aligned", **changes):
    options = {
        "fields": ["en", "de"],
        "val_source": None,
        "val_target": None,
        "test_source": None,
        "test_target": None,
        "references": [],
        "val_fraction": 0.1,
        "max_bytes": None,
        "on_error": "raise",
    }
    return parallel(**options | written(folder, pairs, kind) | changes)


@pytest.mark.parametrize("kind", ["aligned", "tsv", "jsonl"])
def test_every_pair_is_in_one_split_with_its_sides_together(tmp_path: Path, kind: str) -> None:
    pairs = sides(200)
    pairs[3] = ("", "7")
    made, found = source(tmp_path, pairs, kind), {}
    assert made.yields == "pairs"
    for split in ("train", "val"):
        texts = [document.text for document in made.documents(split)]
        found[split] = [*zip(texts[::2], texts[1::2], strict=True)]
    assert 5 < len(found["val"]) < 40
    assert sorted(found["train"] + found["val"]) == sorted(pair for pair in pairs if pair[0])


def test_validation_may_have_files_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    other = written(tmp_path / "val", [("a b", "c")], "aligned")
    made = source(tmp_path, sides(20), val_source=other["source"], val_target=other["target"])
    assert [document.text for document in made.documents("val")] == ["a b", "c"]
    assert len(list(made.documents("train"))) == 40


def test_files_that_are_not_aligned_and_lines_without_a_second_side_are_named(tmp_path: Path) -> None:
    given = written(tmp_path, sides(20), "aligned")
    Path(given["target"]).write_text("one line\n")
    options = {"fields": ["a", "b"], "val_source": None, "val_target": None, "val_fraction": 0.1}
    options |= {"test_source": None, "test_target": None, "references": []}
    options |= {"max_bytes": None, "on_error": "raise"}
    with pytest.raises(ValueError, match=r"20 lines.*side1.txt 1"):
        list(parallel(**given, **options).documents("train"))
    with pytest.raises(ValueError, match=r"side0.txt, line 1: one column"):
        list(parallel(**given | {"target": None}, **options).documents("train"))
    with pytest.raises(ValueError, match=r"data.fields=\['a'\]"):
        parallel(**given, **options | {"fields": ["a"]})


@pytest.fixture
def pair_file(tmp_path: Path) -> PairFile:
    made, tokenizer = source(tmp_path, sides(207), val_fraction=0.03), Byte()
    tokens = prepare_tokens(made, tokenizer, tmp_path / "cache")
    return PairFile(tokens.train, context=40, separator=tokenizer.separator)


def decoded(words: np.ndarray) -> list[str]:
    return [Byte().decode(row[row >= 0]) for row in words]


def keys(batch: dict) -> list[tuple[str, str]]:
    return [*zip(decoded(batch["source_BS"].numpy()), decoded(batch["target_BU"].numpy()), strict=True)]


def trained(pairs: PairFile, rank: int = 0, ranks: int = 1, start: int = 0, seed: int = 0) -> TrainPairs:
    return TrainPairs(pairs, LengthBuckets(pairs, 8, "rows"), seed, start, rank, ranks)


def test_a_batch_is_of_neighbouring_lengths_and_as_wide_as_its_longest(pair_file: PairFile) -> None:
    spread = []
    for step in range(20):
        batch = trained(pair_file).batch(step)
        lengths = (batch["source_BS"] >= 0).sum(-1)
        assert lengths.max() == batch["source_BS"].shape[1]
        assert (batch["target_BU"] >= 0).sum(-1).tolist() == batch["lengths_R"].tolist()
        assert lengths.tolist() == batch["source_lengths_R"].tolist()
        assert batch["count"] == (batch["source_BS"] >= 0).sum() + batch["lengths_R"].sum()
        spread.append(float(lengths.double().std()))
    everything = float(np.std(pair_file.find_spans(np.arange(len(pair_file)))[1][:, 0]))
    assert np.mean(spread) < everything / 2


def test_each_pair_comes_once_in_an_epoch_but_for_a_remainder(pair_file: PairFile) -> None:
    total = len(pair_file)
    known = [key_of(pair_file, index) for index in range(total)]
    batches, made = total // 8, trained(pair_file)
    epochs = []
    for epoch in range(2):
        found = [k for step in range(batches) for k in keys(made.batch(epoch * batches + step))]
        assert len(found) == batches * 8
        assert not Counter(found) - Counter(known)
        epochs.append(found)
    assert epochs[0] != epochs[1]


def words_of(pairs: PairFile, index: int, side: int) -> np.ndarray:
    (first,), (length,) = (found[:, side] for found in pairs.find_spans(np.array([index])))
    return pairs.tokens.tokens[first : first + length]


def key_of(pairs: PairFile, index: int) -> tuple[str, str]:
    return Byte().decode(words_of(pairs, index, 0)), Byte().decode(words_of(pairs, index, 1))


def test_a_batch_depends_on_seed_and_step_alone(pair_file: PairFile) -> None:
    stream = iter(trained(pair_file))
    once = [keys(next(stream)) for _ in range(60)]
    resumed = iter(trained(pair_file, start=31))
    assert [keys(next(resumed)) for _ in range(29)] == once[31:]
    assert keys(trained(pair_file, seed=1).batch(0)) != once[0]
    parts = [trained(pair_file, rank, 4).batch(5) for rank in range(4)]
    assert [key for part in parts for key in keys(part)] == once[5]
    assert len({part["source_BS"].shape for part in parts}) == 1
    assert {part["count"] for part in parts} == {trained(pair_file).batch(5)["count"]}


def test_validation_has_every_pair_exactly_once(pair_file: PairFile) -> None:
    found, batches = [], 0
    for rank in range(2):
        for batch in ValPairs(pair_file, 8, rank, 2):
            batches += 1
            found += [key for key in keys(batch) if key != ("", "")]
    assert batches == 2 * -(-len(pair_file) // 8)
    assert sorted(found) == sorted(key_of(pair_file, i) for i in range(len(pair_file)))


def test_longer_sides_are_cut(tmp_path: Path) -> None:
    tokens = prepare_tokens(source(tmp_path, sides(40)), Byte(), tmp_path / "cache")
    pairs = PairFile(tokens.train, context=8, separator=256)
    batch = trained(pairs).batch(0)
    assert batch["source_BS"].shape[1] <= 7
    assert pairs.find_lengths(np.arange(len(pairs))).max() == 7


def test_pairs_of_one_row_are_cut_to_what_a_task_says_and_how_many_is_told(tmp_path: Path) -> None:
    tokens = prepare_tokens(source(tmp_path, sides(40)), Byte(), tmp_path / "cache")
    whole = PairFile(tokens.train, context=1000, separator=256)
    assert whole.describe_cut() == ""
    lengths = whole.find_spans(np.arange(len(whole)))[1]
    pairs = PairFile(tokens.train, 12, 256, longest=(8, 3), joined=True)
    cut = np.minimum(lengths, (8, 3))
    assert pairs.find_lengths(np.arange(len(pairs))).tolist() == (cut.sum(1) + 1).tolist()
    lost = lengths - cut
    assert pairs.describe_cut() == (
        f"{(lost.sum(1) > 0).sum()} of {len(pairs)} pairs of the train split are cut to context=12, "
        f"{lost.sum():,} tokens less"
    )
    assert pairs.folder != whole.folder


def test_more_rows_than_pairs_are_refused(tmp_path: Path) -> None:
    tokens = prepare_tokens(source(tmp_path, sides(5), val_fraction=0.5), Byte(), tmp_path / "cache")
    with pytest.raises(ValueError, match=r"batch.size=8: there are \d pairs only"):
        trained(PairFile(tokens.train, 8, 256))


def test_letters_are_the_same_at_every_reading_and_other_in_validation() -> None:
    made = letters(words=5, shortest=2, longest=9, documents=1500, val_documents=10)
    once = [document.text for document in made.documents("train")]
    assert once == [document.text for document in made.documents("train")]
    assert len(once) == 1500
    assert {len(text) for text in once} == set(range(2, 10))
    assert set("".join(once)) == set("abcde")
    assert once[:10] != [document.text for document in made.documents("val")]
    few = letters(words=5, shortest=2, longest=9, documents=3, val_documents=10)
    assert [document.text for document in few.documents("train")] == once[:3]
    with pytest.raises(ValueError, match=r"data\.words=63"):
        letters(63, 1, 2, 3, 4)
    with pytest.raises(ValueError, match=r"data\.shortest=3"):
        letters(5, 3, 2, 3, 4)


@pytest.mark.timeout(240)
def test_a_translation_is_learned_from_aligned_files(train, tmp_path: Path) -> None:
    from triad.runs.metrics import read_metrics

    given = written(tmp_path, sides(2000), "aligned")
    words = "model=encoder_decoder task=translation data=parallel debug=tiny model.width=64 batch.size=32"
    words += " trainer.max_steps=60 optimizer.lr=3e-3 trainer.val_check_interval=60 precision=fp32"
    words += f" data.source={given['source']} data.target={given['target']} trainer.accelerator=cpu run_id=a"
    train(*words.split())
    run = tmp_path / "outputs" / "a"
    rows = read_metrics(run / "metrics.csv")
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert losses[-1] < 0.6 * losses[0]
    assert 0 <= rows[-1]["val/exact_match"] <= 1
    assert load_tokenizer(run / "tokenizer").vocab_size == 257
