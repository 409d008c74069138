"""Batches of rows of like lengths: who is in them, how many tokens they have, and what a batch costs."""

import json
import tracemalloc

import numpy as np
import pytest
from torch.utils.data import DataLoader

from triad.data.documents import ContinuedFile, DocumentFile
from triad.data.length_buckets import SPREAD, LengthBuckets
from triad.data.pairs import PairFile, TrainPairs, ValPairs
from triad.data.token_files import TokenFile

CONTEXT = 60


def write(folder, lengths):
    firsts = np.cumsum([0, *lengths[:-1]])
    np.stack([firsts, np.zeros_like(firsts)], 1).astype(np.int64).tofile(folder / "train.documents.bin")
    np.arange(sum(lengths), dtype=np.uint16).tofile(folder / "train.bin")
    np.zeros(len(lengths), np.int32).tofile(folder / "train.labels.bin")
    return TokenFile(folder, "train", "uint16", 1)


@pytest.fixture(params=[PairFile, DocumentFile, ContinuedFile])
def rows(request, tmp_path):
    lengths = np.random.default_rng(3).geometric(0.06, 1202) + 1
    return request.param(write(tmp_path, lengths.tolist()), CONTEXT, separator=1)


def find_epoch(buckets, epoch, seed=0):
    return [buckets.find_rows(epoch * len(buckets) + turn, seed) for turn in range(len(buckets))]


@pytest.mark.parametrize("tokens", [CONTEXT, 300, 2500])
def test_a_batch_of_tokens_keeps_its_bound_and_each_row_comes_once_in_an_epoch(rows, tokens):
    buckets = LengthBuckets(rows, tokens, "tokens")
    lengths_N, epochs = rows.find_lengths(np.arange(len(rows))), [find_epoch(buckets, e) for e in range(2)]
    for batches in epochs:
        assert sorted(np.concatenate(batches)) == np.flatnonzero(lengths_N).tolist()
        assert max(len(batch) * lengths_N[batch].max() for batch in batches) <= tokens
        real = sum(lengths_N[batch].sum() for batch in batches)
        places = sum(len(batch) * lengths_N[batch].max() for batch in batches)
        assert 1 - real / places <= buckets.padding
    assert {tuple(sorted(batch)) for batch in epochs[0]} != {tuple(sorted(batch)) for batch in epochs[1]}
    steps = np.arange(2 * len(buckets))
    assert buckets.count_rows(steps, 0).tolist() == [len(batch) for batches in epochs for batch in batches]


def test_batches_of_many_rows_of_each_length_waste_less_than_a_tenth_by_either_bound(tmp_path):
    lengths = np.random.default_rng(0).integers(5, CONTEXT, 9000)
    rows = DocumentFile(write(tmp_path, lengths.tolist()), CONTEXT, None)
    for size, unit in ((16, "rows"), (600, "tokens")):
        buckets = LengthBuckets(rows, size, unit)
        places = [
            (len(found), lengths_R.max(), lengths_R.sum())
            for found in find_epoch(buckets, 0)
            for lengths_R in [rows.find_lengths(found)]
        ]
        assert sum(n * longest for n, longest, _ in places) <= SPREAD * sum(real for *_, real in places)
        assert buckets.padding <= 1 - 1 / SPREAD
    assert np.mean([n * longest for n, longest, _ in places]) > 0.8 * 600


def test_a_remainder_that_fills_no_batch_is_another_one_in_the_next_epoch(rows):
    buckets = LengthBuckets(rows, 7, "rows")
    seen = [np.concatenate(find_epoch(buckets, epoch)) for epoch in range(3)]
    assert {len(found) for found in seen} == {len({*found}) for found in seen} == {buckets.total // 7 * 7}
    assert buckets.total % 7
    assert len({frozenset(found) for found in seen}) == 3


@pytest.mark.parametrize("ranks", [1, 3, 4])
def test_a_batch_of_tokens_is_the_same_on_any_number_of_ranks_and_workers_and_after_a_resume(rows, ranks):
    def batches(rank=0, ranks=1, start=0):
        return TrainPairs(rows, LengthBuckets(rows, 400, "tokens"), 5, start, rank, ranks)

    key = "source_BS" if isinstance(rows, PairFile) else "tokens_BT"
    steps = 2 * len(batches().buckets)
    for step in (0, 1, len(batches().buckets) - 1, len(batches().buckets), steps):
        whole, parts = batches().batch(step), [batches(rank, ranks).batch(step) for rank in range(ranks)]
        together = np.concatenate([part[key] for part in parts])
        assert (together[: whole["rows"]] == whole[key].numpy()).all()
        assert (together[whole["rows"] :] == -1).all()
        assert {(part["rows"], part["count"]) for part in parts} == {(whole["rows"], whole["count"])}
    loader = DataLoader(batches(start=4), batch_size=None, num_workers=2)
    for step, batch in zip(range(4, 9), loader, strict=False):
        assert (batch["step"], batch[key].tolist()) == (step, batches().batch(step)[key].tolist())


def test_a_batch_of_validation_has_the_same_rows_on_any_number_of_ranks(rows):
    key = "source_BS" if isinstance(rows, PairFile) else "tokens_BT"
    shares = [ValPairs(rows, 5, rank, 3) for rank in range(3)]
    assert all(len([*share]) == share.count_batches() for share in shares)
    for whole, *parts in zip(ValPairs(rows, 5, 0, 1), *shares, strict=True):
        together = np.concatenate([part[key] for part in parts])
        assert (together[:5] == whole[key].numpy()).all()
        assert (together[5:] == -1).all()


def test_validation_predicts_each_token_of_documents_that_fit_once(tmp_path):
    lengths = [3, 14, 1, 8, 59, 61, 70]
    rows = ContinuedFile(write(tmp_path, lengths), CONTEXT, 1)
    targets = [batch["targets_BT"] for rank in range(2) for batch in ValPairs(rows, 2, rank, 2)]
    found = sorted(target for part in targets for target in part.flatten().tolist() if target >= 0)
    firsts = np.cumsum([0, *lengths[:-1]])
    expected = [range(f + 1, f + min(n, CONTEXT + 1)) for f, n in zip(firsts, lengths, strict=True)]
    assert found == sorted(position for one in expected for position in one)


def test_a_batch_of_millions_of_pairs_takes_no_more_memory_than_one_of_thousands(tmp_path):
    peaks = []
    for documents in (20_000, 4_000_000):
        folder = tmp_path / str(documents)
        folder.mkdir()
        ends = np.cumsum(np.resize([9, 12, 20, 33, 50, 7], documents))
        np.stack([np.append(0, ends[:-1]), np.zeros(documents, np.int64)], 1).tofile(
            folder / "train.documents.bin"
        )
        with (folder / "train.bin").open("wb") as file:
            file.truncate(2 * int(ends[-1]))
        rows = PairFile(TokenFile(folder, "train", "uint16", 1), CONTEXT, 1)
        batches = TrainPairs(rows, LengthBuckets(rows, 2000, "tokens"), 0, 0, 0, 1)
        batches.batch(0)
        tracemalloc.start()
        for step in range(1, 9):
            batches.batch(step * len(batches.buckets) // 3)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] < 1e6


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_compute_steps_of_tokens_as_one_does(python, tmp_path):
    texts = [" ".join(f"{n} squared is {n * n}." for n in range(k, k + 1 + k % 7)) for k in range(1500)]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps({'text': text})}\n" for text in texts))
    words = "data=text data.path=a.jsonl packing=none batch=tokens batch.tokens=701 context=128"
    asked = [*words.split(), "strategy=ddp", "trainer.devices=2", "hardware.micro_batch_size=3"]
    assert "1 compared, 0 depart" in python("-m", "triad.verify", *asked).stdout
