"""What each kind of packing reads, counted token by token."""

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from triad.data.batches import TrainBatches, ValBatches
from triad.data.best_fit import pack_best_fit
from triad.data.packing import IGNORED, NOTHING, pack
from triad.data.token_files import TokenFile

CONTEXT = 10
LENGTHS = [
    [3, 14, 1, 8, 11],
    [25],
    [1, 1, 2, 1],
    [10, 11, 12, 21, 22, 30, 31],
    [0, 4, 0, 0, 7, 9, 0],  # empty documents of a tokenizer without a separator
    np.random.default_rng(0).integers(1, 35, 90).tolist(),
]


def write(folder, lengths):
    """Documents of the given lengths, made of tokens that say their own position."""
    firsts = np.cumsum([0, *lengths[:-1]])
    np.stack([firsts, np.zeros_like(firsts)], 1).astype(np.int64).tofile(folder / "train.documents.bin")
    np.arange(sum(lengths), dtype=np.uint16).tofile(folder / "train.bin")
    return TokenFile(folder, "train", "uint16", sum(lengths))


def number_documents(lengths):
    return np.repeat(np.arange(len(lengths)), lengths)


def check_row(tokens_T, targets_T, starts_T, document_N):
    """One row by its definition; return how many pairs of tokens see each other."""
    pairs = 0
    for index, (token, target, start) in enumerate(zip(tokens_T, targets_T, starts_T, strict=True)):
        if token == NOTHING:
            assert (target, start) == (IGNORED, index)
            continue
        piece = tokens_T[start : index + 1]
        assert piece == [*range(token - len(piece) + 1, token + 1)]
        assert len({*document_N[piece]}) == 1
        if start and tokens_T[start - 1] == tokens_T[start] - 1:  # or the row has both ends of a border
            assert document_N[tokens_T[start - 1]] != document_N[token]
        assert target in (token + 1, IGNORED)
        if target != IGNORED:
            assert document_N[target] == document_N[token]
        pairs += len(piece)
    return pairs


@pytest.mark.parametrize("lengths", LENGTHS, ids=len)
@pytest.mark.parametrize("packing", ["documents", "best_fit"])
def test_each_token_that_can_be_predicted_is_predicted_once_in_validation_from_its_document_only(
    tmp_path, lengths, packing
):
    rows, document_N = pack(write(tmp_path, lengths), CONTEXT, packing), number_documents(lengths)
    if not sum(max(length - 1, 0) for length in lengths):
        pytest.skip("nothing can be predicted")
    seen, pairs, measured = [], 0, rows.measure(rows.list_places())
    shares = [[*ValBatches(rows, 3, rank, 2, None)] for rank in range(2)]
    for batch in (batch for step in zip(*shares, strict=True) for batch in step):
        sides = [batch[key].tolist() for key in ("tokens_BT", "targets_BT", "starts_BT")]
        pairs += sum(check_row(*row, document_N) for row in zip(*sides, strict=True))
        real = batch["targets_BT"] != IGNORED
        assert batch["count"] == real.sum()
        seen += batch["targets_BT"][real].tolist()
    firsts = {*np.cumsum([0, *lengths]).tolist()}
    assert sorted(seen) == [position for position in range(sum(lengths)) if position not in firsts]
    assert measured["count"] == len(seen)
    assert (measured["document_lengths_D"] * (measured["document_lengths_D"] + 1) // 2).sum() == pairs


@pytest.mark.parametrize("lengths", [LENGTHS[0], *LENGTHS[3:]], ids=len)
def test_rows_of_separate_documents_are_the_windows_without_what_crosses_a_border(tmp_path, lengths):
    tokens, document_N = write(tmp_path, lengths), number_documents(lengths)
    windows, separate = (pack(tokens, 7, packing) for packing in ("windows", "documents"))
    numbers = np.arange(3 * len(windows))
    places = separate.locate(numbers, seed=5)
    assert (places == windows.locate(numbers, seed=5)).all()
    there, here = windows.read(places), separate.read(places)
    assert torch.equal(here["tokens_BT"], there["tokens_BT"])
    crosses = document_N[there["tokens_BT"]] != document_N[there["targets_BT"]]
    expected = there["targets_BT"].masked_fill(torch.from_numpy(crosses), IGNORED)
    assert torch.equal(here["targets_BT"], expected)
    assert torch.equal(separate.measure(places)["lengths_R"], (expected != IGNORED).sum(1))
    assert "starts_BT" not in there
    assert "document_lengths_D" not in windows.measure(places)


@pytest.mark.parametrize("lengths", [LENGTHS[0], LENGTHS[3], LENGTHS[5]], ids=len)
@pytest.mark.parametrize("ranks", [1, 2])
def test_an_epoch_of_best_fit_has_each_target_once_in_another_order_than_the_next(tmp_path, lengths, ranks):
    rows = pack(write(tmp_path, lengths), CONTEXT, "best_fit")
    total = len(rows)
    read = [
        TrainBatches(rows, lambda _: ranks, lambda k: ranks * k, 1, 0, rank, ranks) for rank in range(ranks)
    ]
    steps = [[share.batch(k) for share in read] for k in range(2 * total)]
    assert all(sum((b["targets_BT"] != IGNORED).sum() for b in step) == step[0]["count"] for step in steps)
    targets_RT = torch.cat([share["targets_BT"] for step in steps for share in step])
    epochs = targets_RT[: 2 * total].split(total)
    expected = {*range(sum(lengths))} - {*np.cumsum([0, *lengths]).tolist()}
    for epoch in epochs:
        assert sorted(epoch[epoch != IGNORED].tolist()) == sorted(expected)
    assert not torch.equal(*epochs)
    assert rows.padding == pytest.approx((epochs[0] == IGNORED).double().mean().item(), abs=1e-12)


@pytest.mark.parametrize("packing", ["windows", "documents", "best_fit", "none"])
@pytest.mark.parametrize(
    "workers", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)]
)
def test_a_run_of_three_epochs_that_was_stopped_reads_what_one_that_was_not_does(tmp_path, packing, workers):
    rows = pack(write(tmp_path, [11] * 10), CONTEXT, packing)  # ten rows of each kind, four a step

    def read(start, count):
        batches = TrainBatches(rows, lambda _: 4, lambda k: 4 * k, 1, start, 0, 1)
        return [
            b["tokens_BT"] for b in islice(DataLoader(batches, batch_size=None, num_workers=workers), count)
        ]

    never = read(0, 8)
    assert len(rows) == 10
    for stop in range(8):
        assert torch.equal(torch.cat(read(stop, 8 - stop)), torch.cat(never[stop:]))
    firsts = rows.locate(np.arange(30), 1).reshape(3, 10)
    assert len({tuple(epoch) for epoch in firsts.tolist()}) == 3
    if packing in ("best_fit", "none"):  # windows of an epoch begin at a phase of their own
        assert (np.sort(firsts) == rows.list_places()).all()
    assert rows.locate(np.arange(10, 20), 1).tolist() != rows.locate(np.arange(10), 2).tolist()


def test_rows_by_best_fit_are_read_from_their_files_the_second_time(tmp_path, monkeypatch):
    tokens = write(tmp_path, LENGTHS[5])
    first = pack(tokens, CONTEXT, "best_fit")
    monkeypatch.setattr("triad.data.packing.pack_best_fit", None)
    again = pack(tokens, CONTEXT, "best_fit")
    places = again.list_places()
    assert torch.equal(first.read(places)["tokens_BT"], again.read(places)["tokens_BT"])


def test_a_text_of_single_tokens_fills_no_rows(tmp_path):
    with pytest.raises(ValueError, match="train split has no token to predict"):
        len(pack(write(tmp_path, [1, 1, 1]), CONTEXT, "best_fit"))


def place_one_by_one(sizes, capacity):
    """Best fit decreasing as textbooks have it: the rooms of the bins."""
    rooms = []
    for size in sorted(sizes, reverse=True):
        fitting = [(room, at) for at, room in enumerate(rooms) if room >= size]
        if fitting:
            rooms[min(fitting)[1]] -= size
        else:
            rooms.append(capacity - size)
    return rooms


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_groups_of_bins_are_filled_as_items_one_by_one_fill_them(data):
    capacity = data.draw(st.integers(1, 40))
    sizes = data.draw(st.lists(st.integers(1, capacity), max_size=60))
    loads = np.bincount(pack_best_fit(np.array(sizes, np.int64), capacity), sizes)
    assert sorted(capacity - loads) == sorted(place_one_by_one(sizes, capacity))


@pytest.mark.parametrize("seed", range(4))
def test_the_number_of_bins_keeps_the_proven_bound(seed):
    """11/9 of the least number and 4 bins: Johnson et al. 1974, SIAM J. Comput. 3 (4)."""
    random, capacity, least = np.random.default_rng(seed), 97, 500
    cuts = (np.sort(random.choice(capacity - 1, random.integers(1, 6), replace=False)) for _ in range(least))
    sizes = random.permutation(np.concatenate([np.diff([0, *cut + 1, capacity]) for cut in cuts]))
    loads = np.bincount(pack_best_fit(sizes, capacity), sizes)
    assert loads.sum() == least * capacity  # that many bins are filled exactly, as the sizes were cut
    assert loads.max() <= capacity
    assert len(loads) <= 11 / 9 * least + 4
