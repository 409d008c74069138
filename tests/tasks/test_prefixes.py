"""Rows whose first tokens are given."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from triad.decoding.greedy import Greedy
from triad.layers.cross_entropy import IGNORED
from triad.layers.full_attention import PADDING
from triad.tasks.pairs import given
from triad.tasks.prefixes import find_prompts, join, make_row, read_answers
from triad.tasks.sequence_to_sequence import SequenceToSequence

WORDS, CONTEXT = 20, 16


def task(**changes) -> SequenceToSequence:
    asked = {"smoothing": 0.0, "z_loss": 0.0, "pairs": given, "generated": 1, "target_tokens": None}
    asked |= {"vocab_size": WORDS, "tokenizer": None, "context": CONTEXT, "model_sees": "past"}
    return SequenceToSequence(
        **asked | {"decoding": Greedy(), "metrics": {}, "predicts": "a sequence"} | changes
    )


def pad(rows: list[list[int]]) -> torch.Tensor:
    tensors = [torch.tensor(row, dtype=torch.int64) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=PADDING)


SOURCES = [[3, 1, 2], [7], [4, 4, 4, 4, 4], []]
TARGETS = [[5, 6], [1, 2, 3, 4], [], []]


def batch() -> dict:
    lengths = [torch.tensor([*map(len, side)]) for side in (SOURCES, TARGETS)]
    sides = {"source_BS": pad(SOURCES), "target_BU": pad(TARGETS)}
    return sides | {"source_lengths_R": lengths[0], "lengths_R": lengths[1], "rows": 3}


def test_a_row_of_a_decoder_is_source_word_target_word_with_the_loss_on_target_and_end() -> None:
    found = task().inputs(batch(), draw=None)
    rows = [row[row != PADDING].tolist() for row in found["tokens_BT"]]
    assert rows == [[3, 1, 2, 20, 5, 6], [7, 20, 1, 2, 3, 4], [4, 4, 4, 4, 4, 20], [20]]
    targets = [row[row != IGNORED].tolist() for row in found["targets_BT"]]
    assert targets == [[5, 6, 20], [1, 2, 3, 4, 20], [20], []]  # an empty target is a row, padding is none
    assert found["targets_BT"][0].tolist()[:6] == [IGNORED, IGNORED, IGNORED, 5, 6, 20]
    assert int(found["count"]) == 9
    assert [lengths.tolist() for lengths in found["lengths"]] == [[6, 6, 6, 1]]
    assert find_prompts(found["tokens_BT"], found["targets_BT"], WORDS) == [
        [3, 1, 2, 20],
        [7, 20],
        [4, 4, 4, 4, 4, 20],
        [20],
    ]
    assert read_answers(found["targets_BT"]) == targets


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_of_the_prefix_form_is_that_of_transformers_with_minus_100_on_the_source(seed: int) -> None:
    torch.manual_seed(seed)
    sizes = {
        "n_positions": CONTEXT,
        "n_embd": 12,
        "n_layer": 2,
        "n_head": 2,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    theirs = GPT2LMHeadModel(GPT2Config(vocab_size=WORDS + 1, **sizes)).eval().double()
    rows = [[*source, WORDS, *target, WORDS] for source, target in zip(SOURCES, TARGETS, strict=True)][:3]
    labels = [
        [*[-100] * (len(source) + 1), *target, WORDS] for source, target in zip(SOURCES, TARGETS, strict=True)
    ]
    width = max(map(len, rows))
    filled = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    asked = torch.tensor([[*row, *[-100] * (width - len(row))] for row in labels[:3]])
    with torch.no_grad():
        expected = theirs(filled, labels=asked).loss

        def model(tokens_BT, loss):
            hidden_BTD = theirs.transformer(tokens_BT.clamp_min(0)).last_hidden_state
            return loss(hidden_BTD, theirs.lm_head.weight), ()

        found = task().inputs(batch(), draw=None)
        sums = task().measure(model, found["tokens_BT"], found["targets_BT"])
    torch.testing.assert_close(sums["nll"] / found["count"], expected.to(sums["nll"].dtype))


def test_sources_and_targets_share_a_row_whatever_the_length_of_the_own_target() -> None:
    made = task(target_tokens=5)
    long = {"source_BS": torch.arange(30)[None] % 7, "target_BU": torch.arange(2)[None]}
    found = made.inputs(long, draw=None)
    assert found["tokens_BT"].tolist()[0] == [*(i % 7 for i in range(10)), 20, 0, 1]
    most = made.inputs(long | {"target_BU": torch.arange(30)[None] % 9}, draw=None)
    assert most["tokens_BT"].shape[1] == CONTEXT
    assert most["tokens_BT"].tolist()[0][:11] == found["tokens_BT"].tolist()[0][:11]
    assert read_answers(most["targets_BT"]) == [[0, 1, 2, 3, 4, 20]]
    assert task(target_tokens=15).longest == (8, 7)
    with pytest.raises(ValueError, match="context=2 holds no source and target"):
        task(context=2)


def test_joining_keeps_all_tokens_in_their_order() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(0, 6, (50, 2), generator=generator).tolist()
    sources = [list(range(length)) for length, _ in lengths]
    tokens = [list(range(10, 11 + length)) for _, length in lengths]
    targets = pad([[*row[1:], 9] for row in tokens])
    tokens_BL, targets_BL = join(pad(sources), pad(tokens), targets.where(targets >= 0, IGNORED))
    assert [row[row != PADDING].tolist() for row in tokens_BL] == [
        a + b for a, b in zip(sources, tokens, strict=True)
    ]
    for source, row, ids in zip(sources, targets_BL.tolist(), tokens, strict=True):
        assert row[: len(source) + len(ids)] == [IGNORED] * len(source) + ids[1:] + [9]


def test_a_row_of_pieces_asks_for_the_first_token_of_a_piece_at_the_last_of_the_one_before() -> None:
    row = make_row([([1, 2], False), ([3, 4], True), ([5], False), ([6], True)])
    assert row["tokens_BT"] == [1, 2, 3, 4, 5]
    assert row["targets_BT"] == [IGNORED, 3, 4, IGNORED, 6]
