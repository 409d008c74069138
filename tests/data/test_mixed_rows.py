"""Batches of a mixture: shares of tokens, epochs of each source, resuming, other ranks, other stages."""

import json
import re
from collections import Counter
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from triad.data.batches import TrainBatches, ValBatches
from triad.data.mixed_rows import MixedWindows, ValSources
from triad.data.mixed_tokens import prepare_mixture
from triad.data.packing import pack
from triad.data.sources.mixture import mixture
from triad.data.sources.source import Document, Text
from triad.data.token_files import TokenFile
from triad.data.tokenizers.byte import Byte
from triad.schedules.batch_size import fixed, staged

WEIGHTS = {"short": 0.7, "long": 0.3}


def read(texts, split):
    for number, text in enumerate(texts if split == "train" else texts[:3]):
        yield Document(f"{number}", text)


def make_text(texts):
    return Text("text", partial(read, texts))


SOURCES = {
    "short": make_text([f"{number:04}" for number in range(600)]),
    "long": make_text([chr(97 + number) * 2000 for number in range(6)]),
    "other": make_text(["of a third source, added later\n" * 40]),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def tokens_of(cache):
    def prepare(names=("short", "long"), weights=WEIGHTS, schedule=(), skip=()):
        sources = {name: SOURCES[name] for name in names}
        return prepare_mixture(mixture(sources, weights, [*schedule], [*skip]), Byte(), cache)

    return prepare


def rows_of(tokens, packing="windows", rule=None, seed=0, context=64):
    return MixedWindows(tokens, context, rule or fixed(5, "none", None), seed, packing)


def batches_of(data, start=0, rank=0, ranks=1):
    return TrainBatches(data.train, data.batch_rows, data.find_first, data.seed, start, rank, ranks)


def take(batches, steps):
    return [batches.batch(step) for step in steps]


def same(one, other):
    return all(torch.equal(a["tokens_BT"], b["tokens_BT"]) for a, b in zip(one, other, strict=True))


def rows_read(data, steps):
    return np.concatenate([data.find_first(step) + np.arange(data.batch_rows(step)) for step in steps])


def places_of(data, steps):
    return data.train.locate(rows_read(data, steps), data.seed)


@pytest.mark.parametrize("packing", ["windows", "documents", "best_fit", "none"])
def test_shares_are_of_tokens_whatever_the_length_of_documents(tokens_of, packing) -> None:
    data, counts, stretches = rows_of(tokens_of(), packing), Counter(), []
    for step in range(10_000):
        before = counts.total()
        counts.update(batches_of(data).batch(step)["counts"])
        if before // 10_000 < counts.total() // 10_000:
            stretches.append(dict(counts))
        if counts.total() >= 40_000:
            break
    assert counts["short"] == pytest.approx(0.7 * counts.total(), abs=400)
    ends = [{"short": 0, "long": 0}, *stretches]
    for earlier, later in pairwise(ends):
        in_between = {name: later[name] - earlier[name] for name in later}
        assert in_between["short"] / sum(in_between.values()) == pytest.approx(0.7, abs=0.05)


def test_no_row_comes_again_before_all_of_its_source_have_come_and_the_passes_are_told(tokens_of) -> None:
    data = rows_of(tokens_of(), "none")
    times = Counter()
    for step in range(400):
        times.update(places_of(data, [step]).tolist())
        for n, documents in enumerate((6, 600)):  # of long and of short
            of_source = [count for place, count in times.items() if place >> 48 == n]
            missing = len(of_source) < documents
            assert not of_source or max(of_source) - (0 if missing else min(of_source)) <= 1
    windows = rows_of(tokens_of())
    assert [*windows.describe_passes(125)] == [
        "data.sources.long: 30.1% of the tokens up to step 125, 1.00 passes over it",
        "data.sources.short: 69.9% of the tokens up to step 125, 9.33 passes over it",
    ]


@pytest.mark.parametrize("packing", ["windows", "none"])
@pytest.mark.parametrize("ranks", [1, 5])
def test_a_resumed_run_on_any_number_of_ranks_reads_what_one_that_was_never_stopped_reads(
    tokens_of, packing, ranks
) -> None:
    schedule = [{"from": 7, "weights": {"short": 1, "long": 2}}]
    data = rows_of(tokens_of(schedule=schedule), packing)
    for start in (1, 7, 26, 135):  # the last is behind an epoch of all sources together
        whole = take(batches_of(data), range(start, start + 8))
        resumed = rows_of(tokens_of(schedule=schedule), packing)
        of_ranks = [batches_of(resumed, start, rank, ranks) for rank in range(ranks)]
        shares = [[batch["tokens_BT"] for batch in take(one, range(start, start + 8))] for one in of_ranks]
        for batch, *parts in zip(whole, *shares, strict=True):
            assert torch.equal(batch["tokens_BT"], torch.cat(parts))


def documents_of_a_row(folder, rows):
    """Ten documents of one row each, as the tokens of a TokenFile."""
    firsts = np.arange(0, 17 * rows, 17)
    np.stack([firsts, np.zeros_like(firsts)], 1).astype(np.int64).tofile(folder / "train.documents.bin")
    np.arange(17 * rows, dtype=np.uint16).tofile(folder / "train.bin")
    return TokenFile(folder, "train", "uint16", 17 * rows)


@given(seed=st.integers(0, 2**32), stops=st.lists(st.integers(0, 7), max_size=2))
@settings(derandomize=True, max_examples=30, deadline=None)
def test_over_several_epochs_of_ten_rows_a_stop_loses_and_repeats_none(tmp_path_factory, seed, stops) -> None:
    """The mutant: a resume that restores the place within the epoch and not the epoch is wrong from 3 on."""
    rows = pack(documents_of_a_row(tmp_path_factory.mktemp("rows"), 10), 16, "none")
    rule = fixed(4, "none", None)

    def resume_at(start, first=rule):
        batches = TrainBatches(rows, lambda _: 4, first, seed, start, 0, 1)
        return [batches.batch(step)["tokens_BT"][:, 0].tolist() for step in range(start, 8)]

    whole = resume_at(0)
    order = [row for batch in whole for row in batch][:30]
    assert all(sorted(order[at : at + 10]) == sorted(order[:10]) for at in (0, 10, 20))
    assert len({tuple(order[at : at + 10]) for at in (0, 10, 20)}) == 3
    read, at = [], 0
    for stop in [*sorted(stops), 8]:  # stopped before these steps
        read += resume_at(at)[: stop - at]
        at = stop
    assert read == whole
    for start in range(8):

        def restore_cursor(step, start=start):
            return rule(start) % 10 + rule(step) - rule(start)

        assert (resume_at(start, restore_cursor) == whole[start:]) == (start < 3)


def resume(tokens, record, step):
    """As a run does it, of whose record there is the JSON."""
    return tokens.resume(json.loads(json.dumps(record)), step)


def own_rows(data, steps):
    """For each source the numbers of its rows that some steps read, in their order."""
    source_R, own_R = data.train.order.find(rows_read(data, steps))
    return {name: own_R[source_R == n].tolist() for n, name in enumerate(data.train.names)}


ASKED = {
    "weights": {"weights": {"short": 1, "long": 3}},
    "a source": {"names": ("other", "short", "long"), "weights": {"other": 0.5, "short": 0.3, "long": 0.2}},
    "a schedule": {"schedule": [{"from": 12, "weights": {"short": 0, "long": 1}}]},
    "a skip": {"skip": ["12:15"]},
}


@pytest.mark.parametrize("change", ASKED)
def test_what_a_resumed_run_is_asked_for_holds_from_there_on_and_loses_and_repeats_no_row(
    tokens_of, change
) -> None:
    before = tokens_of()
    after = resume(tokens_of(**ASKED[change]), before.fingerprint, 10)
    assert after.resumed
    assert same(take(batches_of(rows_of(after)), range(10)), take(batches_of(rows_of(before)), range(10)))
    data, steps = rows_of(after), range(60)
    assert not same(take(batches_of(data), range(15, 20)), take(batches_of(rows_of(before)), range(15, 20)))
    read = own_rows(data, steps)
    if change != "a skip":
        assert all(rows == [*range(len(rows))] for rows in read.values())
    again = resume(tokens_of(**ASKED[change]), after.fingerprint, 30)  # once more, with the same words
    assert not again.resumed
    assert again.fingerprint == after.fingerprint
    assert same(take(batches_of(rows_of(again)), steps), take(batches_of(data), steps))


def test_two_sources_of_the_same_text_are_read_in_orders_of_their_own(cache) -> None:
    twins = {"one": SOURCES["short"], "two": SOURCES["short"]}
    data = rows_of(prepare_mixture(mixture(twins, dict.fromkeys(twins, 1), [], []), Byte(), cache), "none")
    places = places_of(data, range(240))
    orders = [places[places >> 48 == n] % 2**48 for n in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1]) == [*range(600)]
    assert (orders[0] == orders[1]).mean() < 0.05


def test_the_record_is_a_list_of_steps_weights_and_sources(tokens_of) -> None:
    record = tokens_of(schedule=[{"from": 4, "weights": {"short": 0.5, "long": 0.5}}]).fingerprint
    more = resume(tokens_of(**ASKED["a source"]), record, 10).fingerprint
    assert [(stage["from"], stage["weights"]) for stage in more["stages"]] == [
        (0, {"short": "7/10", "long": "3/10"}),
        (4, {"short": "1/2", "long": "1/2"}),
        (10, {"other": "1/2", "short": "3/10", "long": "1/5"}),
    ]
    names = [sorted(stage["sources"]) for stage in more["stages"]]
    assert names == [["long", "short"], ["long", "short"], ["long", "other", "short"]]
    back = resume(tokens_of(**ASKED["a source"]), more, 20)
    assert back.fingerprint == more


def test_rows_that_are_skipped_are_those_that_the_steps_would_have_read(tokens_of) -> None:
    plain, skipping = rows_of(tokens_of()), rows_of(tokens_of(skip=["12:15", "20:21"]))
    shifted = [step + 3 * (step >= 12) + (step >= 20) for step in range(40)]
    assert same(take(batches_of(skipping), range(40)), take(batches_of(plain), shifted))
    growing = staged(100, 4, [[10, 8]], "steps", "none", None)
    ramp = rows_of(tokens_of(skip=["8:12"]), rule=growing)
    assert rows_read(ramp, range(14)).tolist() == [*range(32), *range(56, 56 + 8 + 32)]


REFUSED = {
    "text or its tokenizer is not what": ({}, lambda record: record["stages"][0]["sources"].update(long="1")),
    "has read it, and it stays": ({"names": ["short"], "weights": {"short": 1}}, lambda record: None),
    "from=5 lies before step 10": (
        {"schedule": [{"from": 5, "weights": {"short": 1, "long": 1}}]},
        lambda record: None,
    ),
    "8:9 begins before step 10": ({"skip": ["8:9"]}, lambda record: None),
    "3:4 was left out before step 10": ({}, lambda record: record.update(skips=[[3, 4]], asked={})),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_was_trained_before_a_resume_cannot_become_another(tokens_of, sentence) -> None:
    asked, change = REFUSED[sentence]
    record = json.loads(json.dumps(tokens_of().fingerprint))
    change(record)
    if not record["asked"]:
        record["asked"] = {"stages": tokens_of().fingerprint["asked"]["stages"], "skips": record["skips"]}
    with pytest.raises(ValueError, match=sentence):
        tokens_of(**asked).resume(record, 10)


def test_a_source_without_a_row_is_refused_by_its_name(tokens_of, cache) -> None:
    sources = SOURCES | {"tiny": make_text(["ab", "cd", "ef"])}
    mixed = mixture(sources, dict.fromkeys(sources, 1), [], [])
    with pytest.raises(ValueError, match=r"data\.sources\.tiny: context=64: longer than the corpus"):
        rows_of(prepare_mixture(mixed, Byte(), cache))
    empty = mixture(sources | {"tiny": make_text(["", ""])}, dict.fromkeys(sources, 1), [], [])
    with pytest.raises(ValueError, match=r"data\.sources\.tiny: data=text: the train split has no text"):
        prepare_mixture(empty, Byte(), cache)


WRONG = {
    "data.weights.lang: no source has that name": {"weights": {"short": 1, "lang": 1}},
    "data.weights.long is missing": {"weights": {"short": 1}},
    "data.weights.long=-1: a share is a positive number": {"weights": {"short": 1, "long": -1}},
    "data.weights: all shares are 0": {"weights": {"short": 0, "long": 0}},
    "data.schedule[0]={'from': 3}: two keys": {"schedule": [{"from": 3}]},
    "data.schedule[0].from=0: a step after 0": {"schedule": [{"from": 0, "weights": WEIGHTS}]},
    "data.schedule[1].from=5: a step after 5": {"schedule": [{"from": 5, "weights": WEIGHTS}] * 2},
    "data.schedule[0].weights.long is missing": {"schedule": [{"from": 5, "weights": {"short": 1}}]},
    "data.skip: 7:7: two steps, the earlier first": {"skip": ["7:7"]},
    "data.sources is empty": {"sources": {}},
    "data.sources.a/b: a name has letters": {"sources": {"a/b": SOURCES["long"]}},
    "data.sources.long: a source of text stands here": {"sources": {"short": SOURCES["short"], "long": "x"}},
}


@pytest.mark.parametrize("sentence", WRONG)
def test_a_mixture_that_cannot_be_is_refused_by_the_key(sentence) -> None:
    two = {name: SOURCES[name] for name in WEIGHTS}
    asked = {"sources": two, "weights": WEIGHTS, "schedule": [], "skip": []} | WRONG[sentence]
    with pytest.raises(ValueError, match=re.escape(sentence)):
        mixture(**asked)


def test_a_tokenizer_learns_from_the_sources_by_weight_and_reads_a_short_one_again(monkeypatch) -> None:
    monkeypatch.setattr("triad.data.sources.mixture.STRETCH", 64)
    sources = {"short": SOURCES["short"], "long": make_text([chr(97 + n) * 20_000 for n in range(3)])}
    mixed = mixture(sources, WEIGHTS, [], [])
    whole, sizes = mixed.contents["train"].bytes, {}
    for most in (10**9, 20_000):
        sample = mixed.sample(most)
        texts = [(document.name, document.text) for document in sample.documents("train")]
        assert texts == [(document.name, document.text) for document in sample.documents("train")]
        sizes[most] = Counter()
        for name, text in texts:
            sizes[most][name.partition("/")[0]] += len(text)
        assert sizes[most].total() == pytest.approx(min(most, whole), rel=0.05)
        assert sizes[most]["short"] / sizes[most].total() == pytest.approx(0.7, abs=0.03)
        other = mixture(sources, {"short": 1, "long": 9}, [], []).sample(most)
        assert other.contents["train"].fingerprint != sample.contents["train"].fingerprint


def test_validation_takes_turns_between_sources_and_each_batch_is_of_one(tokens_of) -> None:
    data = rows_of(tokens_of())
    loaders = {name: ValBatches(reader, 2, 0, 1, None) for name, reader in data.val.items()}
    batches = [*ValSources(loaders)]
    assert len(batches) == ValSources(loaders).count_batches()
    assert [batch["source"] for batch in batches[:4]] == ["long", "short", "long", "long"]
    for name, tokens in tokens_of().sources.items():
        assert sum(batch["count"] for batch in batches if batch["source"] == name) == tokens.val.size - 1


def test_an_epoch_of_a_mixture_reads_as_many_rows_as_its_sources_have(tokens_of) -> None:
    data = rows_of(tokens_of())
    alone = sum(len(reader) for reader in data.train.readers)
    for epochs in (1, 2):
        found = data.count_steps(epochs)
        assert found["rows"] == alone
        assert 0 <= 5 * found["steps"] - epochs * alone < 5
