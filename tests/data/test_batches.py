from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from triad.data.batches import TrainBatches, ValBatches, make_loader
from triad.data.packing import pack
from triad.data.shuffle import find_starts
from triad.data.token_files import TokenFile


def token_file(folder, n_tokens):
    """Tokens that say their own position."""
    np.arange(n_tokens, dtype=np.uint16).tofile(folder / "train.bin")
    return TokenFile(folder, "train", "uint16", n_tokens)


def eight_rows(step):
    return 8


def eight_before(step):
    return 8 * step


def growing_rows(step):
    return 4 if step < 3 else 8


def growing_before(step):
    return 4 * step if step < 3 else 12 + 8 * (step - 3)


def documents_file(folder, lengths):
    """Documents of the given lengths, made of tokens that say their own position."""
    firsts = np.cumsum([0, *lengths[:-1]])
    np.stack([firsts, np.zeros_like(firsts)], 1).astype(np.int64).tofile(folder / "train.documents.bin")
    return token_file(folder, sum(lengths))


def train(tokens, context=10, batch=eight_rows, first=eight_before, seed=0, start=0, rank=0, ranks=1):
    return TrainBatches(pack(tokens, context, "windows"), batch, first, seed, start, rank, ranks)


def take(batches, count, workers=0):
    return list(islice(DataLoader(batches, batch_size=None, num_workers=workers), count))


def same(one, other):
    assert [batch["step"] for batch in one] == [batch["step"] for batch in other]
    return all(
        torch.equal(a[key], b[key])
        for a, b in zip(one, other, strict=True)
        for key in ("tokens_BT", "targets_BT")
    )


def test_rows_are_the_windows_of_the_order_with_targets_one_further(tmp_path):
    batches = take(train(token_file(tmp_path, 1001), seed=5), 3)
    for step, batch in enumerate(batches):
        starts = torch.from_numpy(find_starts(np.arange(8 * step, 8 * step + 8), 1001, 10, 5))
        assert torch.equal(batch["tokens_BT"], starts[:, None] + torch.arange(10))
        assert torch.equal(batch["targets_BT"], batch["tokens_BT"] + 1)
        assert batch["tokens_BT"].dtype == batch["targets_BT"].dtype == torch.int64
        assert (batch["step"], batch["rows"], batch["count"]) == (step, 8, 80)


def test_an_epoch_predicts_every_token_once_but_for_less_than_a_window_at_its_ends(tmp_path):
    batches = take(train(token_file(tmp_path, 961)), 24)  # 192 rows: two epochs of 96 windows
    for epoch in (batches[:12], batches[12:]):
        counts = torch.bincount(torch.cat([batch["targets_BT"].flatten() for batch in epoch]), minlength=961)
        assert counts.sum() == 960
        assert counts.max() <= 2
        assert (counts != 1).sum() < 2 * 10


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_the_ranks_together_have_the_batch_of_one(tmp_path, ranks):
    tokens = token_file(tmp_path, 1001)
    shares = [take(train(tokens, rank=rank, ranks=ranks), 4) for rank in range(ranks)]
    for whole, *parts in zip(take(train(tokens), 4), *shares, strict=True):
        for key in ("tokens_BT", "targets_BT"):
            assert torch.equal(whole[key], torch.cat([part[key] for part in parts]))
        assert {part["count"] for part in parts} == {whole["count"]}


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_the_sequence(tmp_path, workers):
    tokens = token_file(tmp_path, 1001)
    assert same(take(train(tokens, start=3), 7, workers), take(train(tokens, start=3), 7))


def test_starting_at_step_k_is_continuing_from_it(tmp_path):
    tokens = token_file(tmp_path, 501)
    sizes = {"batch": growing_rows, "first": growing_before}
    assert same(take(train(tokens, **sizes), 20)[5:], take(train(tokens, start=5, **sizes), 15))


def test_a_growing_batch_leaves_no_row_out(tmp_path):
    batches = take(train(token_file(tmp_path, 601), batch=growing_rows, first=growing_before), 9)
    assert [batch["rows"] for batch in batches] == [4] * 3 + [8] * 6
    firsts = torch.cat([batch["tokens_BT"][:, 0] for batch in batches])
    assert sorted(firsts.tolist()) == sorted(find_starts(np.arange(60), 601, 10, seed=0).tolist())


def test_another_seed_gives_another_order(tmp_path):
    tokens = token_file(tmp_path, 1001)
    assert not same(take(train(tokens, seed=1), 1), take(train(tokens, seed=2), 1))


def test_a_batch_that_does_not_divide_among_the_ranks_is_refused(tmp_path):
    with pytest.raises(ValueError, match="batch of 8 rows: does not divide among 3 ranks"):
        train(token_file(tmp_path, 1001), ranks=3)


def test_a_context_longer_than_the_corpus_is_refused(tmp_path):
    with pytest.raises(ValueError, match="context=10: longer than the corpus, whose 10 tokens"):
        train(token_file(tmp_path, 10))


@pytest.mark.parametrize("n_tokens", [2, 10, 11, 12, 101, 333])
@pytest.mark.parametrize(("rows", "ranks"), [(1, 1), (4, 1), (1, 3), (2, 2), (5, 4)])
def test_every_validation_token_is_predicted_exactly_once(tmp_path, n_tokens, rows, ranks):
    read = pack(token_file(tmp_path, n_tokens), 10, "windows")
    shares = [take(ValBatches(read, rows, rank, ranks, None), None) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    seen = []
    for batch in (batch for share in shares for batch in share):
        real = batch["targets_BT"] != -100
        assert batch["targets_BT"].shape == batch["tokens_BT"].shape == (rows, 10)
        assert real.sum() == batch["count"]
        assert torch.equal(batch["targets_BT"][real], batch["tokens_BT"][real] + 1)
        seen += batch["targets_BT"][real].tolist()
    assert sorted(seen) == list(range(1, n_tokens))


def test_validation_is_the_same_for_any_number_of_workers_and_stops_at_its_limit(tmp_path):
    rows = pack(token_file(tmp_path, 333), 10, "windows")
    batches = ValBatches(rows, 2, 0, 2, None)
    assert batches.batches == 9
    assert same(take(batches, None), take(batches, None, workers=2))
    assert len(take(some := ValBatches(rows, 2, 0, 2, 4), None)) == some.count_batches() == 4
    assert len(take(batches, None)) == batches.count_batches()


def test_validation_without_a_token_to_predict_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no token to predict"):
        ValBatches(pack(token_file(tmp_path, 1), 10, "windows"), 1, 0, 1, None)


def test_a_row_that_is_not_packed_is_one_document_cut_at_the_context_and_padded(tmp_path):
    lengths = [3, 14, 1, 8, 11]
    rows = pack(documents_file(tmp_path, lengths), 10, "none")
    batch = TrainBatches(rows, lambda _: 5, lambda k: 5 * k, 0, 0, 0, 1).batch(0)
    firsts = np.cumsum([0, *lengths[:-1]])
    kept = (batch["targets_BT"] != -100).sum(1)
    assert sorted(kept.tolist()) == [0, 2, 7, 10, 10]
    assert batch["count"] == kept.sum() == 29
    for tokens, targets, n in zip(batch["tokens_BT"], batch["targets_BT"], kept, strict=True):
        assert n == 0 or tokens[0] in firsts
        assert torch.equal(targets[:n], tokens[:n] + 1)
        assert (targets[n:] == -100).all()
        assert (tokens[n:] == -1).all()


@pytest.mark.parametrize(("rows", "ranks"), [(1, 1), (4, 1), (2, 3)])
def test_validation_that_is_not_packed_reads_each_document_from_its_first_token(tmp_path, rows, ranks):
    lengths = [3, 14, 1, 8, 11]
    read = pack(documents_file(tmp_path, lengths), 10, "none")
    shares = [take(ValBatches(read, rows, r, ranks, None), None) for r in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    batches = [batch for step in zip(*shares, strict=True) for batch in step]
    tokens_BT, targets_BT = (torch.cat([b[key] for b in batches]) for key in ("tokens_BT", "targets_BT"))
    for row, (first, length) in enumerate(zip(np.cumsum([0, *lengths[:-1]]), lengths, strict=True)):
        n = min(length - 1, 10)
        assert tokens_BT[row].tolist() == [*range(first, first + n), *[-1] * (10 - n)]
        assert targets_BT[row].tolist() == [*range(first + 1, first + n + 1), *[-100] * (10 - n)]
    assert (tokens_BT[5:] == -1).all()
    assert (targets_BT[5:] == -100).all()
    assert sum(batch["count"] for batch in batches) == 2 + 10 + 0 + 7 + 10


def test_padded_rows_are_dealt_to_ranks_with_the_count_of_the_whole_batch(tmp_path):
    rows = pack(documents_file(tmp_path, [3, 14, 2, 8, 11, 5]), 10, "none")
    step = [
        TrainBatches(rows, lambda _: 4, lambda k: 4 * k, 3, 0, r, n).batch(2)
        for r, n in ((0, 1), (0, 2), (1, 2))
    ]
    assert torch.equal(step[0]["targets_BT"], torch.cat([step[1]["targets_BT"], step[2]["targets_BT"]]))
    assert len({batch["count"] for batch in step}) == 1


@pytest.mark.parametrize(("device", "pinned"), [("cuda", True), ("cpu", False)])
def test_batches_for_a_gpu_are_pinned(tmp_path, device, pinned):
    loader = make_loader(train(token_file(tmp_path, 1001)), torch.device(device))
    assert (loader.pin_memory, loader.num_workers, loader.batch_size) == (pinned, 0, None)
