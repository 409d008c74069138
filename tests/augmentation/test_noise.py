"""What training reads in the place of the text: how often, where, and the same in every layout."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from triad.augmentation.span_mask import SpanMask
from triad.augmentation.token_dropout import TokenDropout
from triad.augmentation.token_replacement import TokenReplacement
from triad.augmentation.word_swap import WordSwap
from triad.data.tokenizers.byte import Byte
from triad.layers.cross_entropy import IGNORED
from triad.layers.full_attention import PADDING
from triad.optim.clip import Norm
from triad.optim.parametrisation import Standard
from triad.optim.regularizers import Unpenalized
from triad.optim.update import Update
from triad.tasks.causal_lm import CausalLM
from triad.tasks.classification import Classification
from triad.tasks.counter_rng import random_integers
from triad.tasks.masked_lm import MaskedLM
from triad.tasks.module import Training
from triad.tasks.pairs import given
from triad.tasks.sequence_to_sequence import SequenceToSequence

UNKNOWN, END, WORDS = 0, 1, 50
TOKENIZER = SimpleNamespace(byte_lengths=np.arange(WORDS) != END, unknown=UNKNOWN)
MADE: dict[str, Callable] = {
    "token_dropout": lambda rate: TokenDropout(rate, TOKENIZER),
    "token_replacement": lambda rate: TokenReplacement(rate, TOKENIZER),
    "span_mask": lambda rate: SpanMask(rate, 0.2, 10, TOKENIZER),
    "word_swap": lambda rate: WordSwap(round(10 * rate), TOKENIZER),
}
NOISE = {"smoothing": 0.0, "z_loss": 0.0}
CAUSAL = CausalLM(**NOISE, bytes_per_token=1.0, tokenizer=None, context=64)
HIDING = {"share": 0.15, "masked": 0.8, "random": 0.1, "whole_words": False}
MASKED = MaskedLM(**NOISE, **HIDING, vocab_size=WORDS, tokenizer=None)
RUN = {"tokenizer": SimpleNamespace(separator=END), "context": 9, "model_sees": "past", "metrics": {}}
CLASSES = Classification(**NOISE, pool=None, dropout=0.0, labels=("a", "b"), **RUN)
TRANSLATION = SequenceToSequence(
    **NOISE,
    pairs=given,
    generated=0,
    target_tokens=None,
    vocab_size=WORDS,
    tokenizer=None,
    context=64,
    model_sees="source",
    decoding=None,
    metrics={},
    predicts="a sequence",
)
FITTING = [
    *((task, name) for task in (CAUSAL, MASKED) for name in [*MADE][:3]),
    *((task, name) for task in (CLASSES, TRANSLATION) for name in MADE),
]


def draw(rows: int, purpose: str, length: int) -> Tensor:
    return random_integers(f"0/7/{purpose}", torch.arange(rows), length)


def words(rows: int, length: int) -> Tensor:
    """Rows of tokens that are neither unknown nor a separator."""
    return torch.randint(2, WORDS, (rows, length), generator=torch.Generator().manual_seed(0))


def apply(augment: Callable, tokens_BT: Tensor) -> Tensor:
    return augment(tokens_BT, partial(draw, len(tokens_BT)))


def training(task, augment: Callable | None, rank: int = 0, seed: int = 3) -> Training:
    update = Update(Unpenalized(), Norm(None), Standard(), [])
    model, optimizer = partial(torch.nn.Embedding, embedding_dim=4), partial(torch.optim.Adam)
    made = Training(task, model, optimizer, lambda step: 1.0, None, WORDS, seed, update, None, 1, augment)
    made.kept = SimpleNamespace(strategy=SimpleNamespace(data_rank=rank))  # Lightning holds a weak one
    made.trainer = made.kept
    return made


def batch(rows: int = 8, step: int = 7) -> dict:
    """Rows of a text, of labelled documents and of pairs at once, with separators and padding."""
    tokens, lengths = words(rows, 40), torch.arange(rows) * 5
    tokens[:, 11] = END
    behind = torch.arange(40) >= lengths[:, None]
    return {
        "tokens_BT": tokens.masked_fill(behind, PADDING),
        "targets_BT": tokens.roll(-1, 1).masked_fill(behind, IGNORED),
        "labels_B": torch.arange(rows) % 2,
        "source_BS": tokens.masked_fill(behind, PADDING),
        "target_BU": tokens[:, :9].flip(1),
        "lengths_R": lengths,
        "source_lengths_R": lengths,
        "step": step,
        "rows": rows,
        "count": int(lengths.sum()),
    }


@pytest.mark.parametrize("name", ["token_dropout", "token_replacement", "span_mask"])
@pytest.mark.parametrize("rate", [0.05, 0.3, 0.9])
def test_every_place_of_a_row_is_changed_as_often_as_was_asked(name: str, rate: float) -> None:
    rows = words(6000, 24)
    changed = (apply(MADE[name](rate), rows) != rows).sum(0)
    same = 1 / (WORDS - 1) if name == "token_replacement" else 0  # a token may be replaced by itself
    z = (changed - 6000 * rate * (1 - same)) / (6000 * rate * (1 - rate)) ** 0.5
    assert z.abs().max() < 5
    assert z.square().mean() < 3


def test_a_replacement_is_any_token_but_the_separator() -> None:
    rows = words(2000, 50)
    found = apply(MADE["token_replacement"](1.0), rows)
    often = torch.bincount(found.flatten(), minlength=WORDS)
    assert often[END] == 0
    expected = rows.numel() / (WORDS - 1)
    others = torch.cat((often[:END], often[END + 1 :])).double()
    freedom = WORDS - 2
    assert ((others - expected) ** 2 / expected).sum() < freedom + 6 * (2 * freedom) ** 0.5


def test_spans_are_as_long_as_the_distribution_says() -> None:
    p, longest = 0.2, 10
    hidden = apply(SpanMask(0.01, p, longest, TOKENIZER), words(4000, 400)) == UNKNOWN
    inner = torch.nn.functional.pad(hidden, (1, 1))
    runs = Counter(
        len(run) for row in inner.int().tolist() for run in "".join(map(str, row)).split("0") if run
    )
    weights = [p * (1 - p) ** (length - 1) for length in range(1, longest + 1)]
    total = sum(runs[length] for length in range(1, longest + 1))
    expected = [total * weight / sum(weights) for weight in weights]
    chi_square = sum((runs[at] - mean) ** 2 / mean for at, mean in enumerate(expected, 1))
    assert total > 3000
    assert chi_square < 40  # of 9 degrees of freedom; some spans touch another, or the end of a row


@pytest.mark.parametrize("distance", [1, 3, 6])
def test_tokens_change_their_order_as_often_as_the_formula_says_and_move_no_further(distance: int) -> None:
    length, rows = 30, 4000
    tokens = torch.arange(2, 2 + length).expand(rows, -1)
    tokenizer = SimpleNamespace(byte_lengths=np.ones(100))
    found = apply(WordSwap(distance, tokenizer), tokens)
    assert torch.equal(found.sort(-1).values, tokens)
    place = found.argsort(-1)
    assert (place - torch.arange(length)).abs().max() == distance
    for apart in range(1, distance + 1):  # P(u - v > apart / (distance + 1)) for even u and v
        often = (place[:, :-apart] > place[:, apart:]).double().mean()
        assert often == pytest.approx((1 - apart / (distance + 1)) ** 2 / 2, abs=0.006)


@pytest.mark.parametrize("name", MADE)
def test_separators_padding_and_further_words_stay_where_they_are(name: str) -> None:
    rows = words(300, 40)
    fixed = torch.rand(rows.shape, generator=torch.Generator().manual_seed(1)) < 0.1
    kinds = torch.tensor([END, PADDING, WORDS])  # the last is a word of the model, such as the mask
    rows[fixed] = kinds.repeat(len(rows) * 40)[: int(fixed.sum())]
    found = apply(MADE[name](0.9), rows)
    assert torch.equal(found[fixed], rows[fixed])
    assert ((found != rows) & ~fixed).any()
    assert torch.isin(found[~fixed], kinds).sum() == 0
    if name == "word_swap":  # nothing moves across them
        stretch = fixed.cumsum(-1) * 1000
        assert torch.equal((rows + stretch).sort(-1).values, (found + stretch).sort(-1).values)


@pytest.mark.parametrize("name", MADE)
def test_a_rate_of_nothing_changes_nothing(name: str) -> None:
    rows = batch()["tokens_BT"]
    assert torch.equal(apply(MADE[name](0.0), rows), rows)


@pytest.mark.parametrize("name", ["token_dropout", "span_mask"])
def test_a_rate_of_one_hides_every_token_of_a_text(name: str) -> None:
    rows = words(50, 30)
    assert (apply(MADE[name](1.0), rows) == UNKNOWN).all()


def test_a_vocabulary_without_separator_or_unknown_token_can_have_others_put_in() -> None:
    rows = words(50, 30)
    found = apply(TokenReplacement(0.5, SimpleNamespace(byte_lengths=np.ones(WORDS))), rows)
    assert found.max() < WORDS
    assert found.min() >= 0
    found = apply(TokenReplacement(0.5, Byte()), rows)
    assert found.max() == 255


@pytest.mark.parametrize(("task", "name"), FITTING, ids=lambda one: getattr(one, "predicts", one))
def test_training_alone_reads_something_else_and_its_targets_stay(task, name: str) -> None:
    plain, noisy = training(task, None), training(task, MADE[name](0.3))
    before, after = plain.inputs(batch()), noisy.inputs(batch())
    read, others = task.reads[0], before.keys() - {task.reads[0]}
    assert before.keys() == after.keys()
    assert not torch.equal(before[read], after[read])
    same = partial(torch.testing.assert_close, rtol=0, atol=0)
    same({key: before[key] for key in others}, {key: after[key] for key in others})
    same(plain.eval().inputs(batch()), noisy.eval().inputs(batch()))


@pytest.mark.parametrize(("task", "name"), FITTING, ids=lambda one: getattr(one, "predicts", one))
def test_processes_read_what_one_process_reads(task, name: str) -> None:
    whole, read = batch(), task.reads[0]
    one = training(task, MADE[name](0.3)).inputs(whole)[read]
    rows = [key for key, value in whole.items() if key.endswith(("_BT", "_BS", "_BU", "_B"))]
    for ranks in (2, 4):
        size = len(one) // ranks
        for rank in range(ranks):
            share = {key: whole[key][rank * size : (rank + 1) * size] for key in rows}
            part = training(task, MADE[name](0.3), rank).inputs(whole | share)[read]
            assert torch.equal(part, one[rank * size : (rank + 1) * size])


@pytest.mark.parametrize("name", MADE)
def test_another_step_or_seed_reads_something_else_and_the_same_step_the_same(name: str) -> None:
    def read(step: int, seed: int = 3) -> Tensor:
        return training(CLASSES, MADE[name](0.3), seed=seed).inputs(batch(step=step))["tokens_BT"]

    assert torch.equal(read(7), read(7))
    assert not torch.equal(read(7), read(8))
    assert not torch.equal(read(7), read(7, seed=4))


def test_what_a_masked_model_has_to_find_is_the_text_and_its_masks_stay() -> None:
    noisy = training(MASKED, MADE["token_dropout"](1.0)).inputs(batch())
    plain = training(MASKED, None).inputs(batch())
    masks = plain["tokens_BT"] == WORDS
    assert masks.any()
    assert torch.equal(noisy["tokens_BT"] == WORDS, masks)
    assert torch.equal(noisy["targets_BT"], plain["targets_BT"])
