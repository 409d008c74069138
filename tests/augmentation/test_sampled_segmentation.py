"""Rows of text are cut into other tokens, which spell the same."""

from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch import Tensor

from triad.augmentation.sampled_segmentation import SampledSegmentation
from triad.config.compose import compose
from triad.config.errors import Refusal
from triad.data.sources.source import Document, Split, Text
from triad.data.tokenizers.learning import bpe, unigram
from triad.data.tokenizers.sentencepiece import SentencePiece
from triad.layers.full_attention import PADDING
from triad.tasks.counter_rng import random_integers

TEXT = "".join(f"{n} squared is {n * n}; its half is {n // 2}, née {n % 7} ü.\n" for n in range(400))


def read(split: Split) -> Iterator[Document]:
    yield Document("numbers", TEXT)


@pytest.fixture(scope="module", params=[bpe, unigram], ids=["bpe", "unigram"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SentencePiece:
    """A vocabulary learned from the lines."""
    folder = tmp_path_factory.mktemp("vocabulary")
    return request.param(Text("numbers", read), folder, 320, True, 1 << 20, 0)


def draw(step: int, rows: int, purpose: str, length: int) -> Tensor:
    return random_integers(f"0/{step}/{purpose}", torch.arange(rows), length)


def rows_of(tokenizer: SentencePiece, rows: int, width: int) -> Tensor:
    """Lines as rows of one width, padded; the last row is padding only."""
    lines = [tokenizer.encode(line)[:width] for line in TEXT.splitlines()[: rows - 1]]
    found = torch.full((rows, width), PADDING)
    for row, line in enumerate(lines):
        found[row, : len(line)] = torch.from_numpy(line)
    return found


def decode(tokenizer: SentencePiece, row: Tensor) -> str:
    return tokenizer.decode(row[row != PADDING].numpy())


def test_other_tokens_spell_the_same_text(tokenizer: SentencePiece) -> None:
    rows = rows_of(tokenizer, 40, 60)
    found = SampledSegmentation(0.3, tokenizer, 256)(rows, partial(draw, 7, 40))
    assert found.shape[1] > (rows != PADDING).sum(-1).max()
    assert (found[-1] == PADDING).all()
    assert sum(not torch.equal(a[a >= 0], b[b >= 0]) for a, b in zip(rows, found, strict=True)) > 30
    assert [decode(tokenizer, row) for row in found] == [decode(tokenizer, row) for row in rows]


def test_a_row_depends_on_seed_step_and_row_and_not_on_those_beside_it(tokenizer: SentencePiece) -> None:
    rows, augment = rows_of(tokenizer, 12, 60), SampledSegmentation(0.3, tokenizer, 256)
    found = augment(rows, partial(draw, 7, 12))
    assert torch.equal(found, augment(rows, partial(draw, 7, 12)))
    other = augment(rows, partial(draw, 8, 12))
    assert [decode(tokenizer, row) for row in other] == [decode(tokenizer, row) for row in found]
    assert found.shape != other.shape or not torch.equal(found, other)
    part = augment(rows[6:], lambda purpose, length: draw(7, 12, purpose, length)[6:])
    for one, whole in zip(part, found[6:], strict=True):
        assert torch.equal(one[one >= 0], whole[whole >= 0])


def test_separators_stay_and_the_context_bounds_a_row(tokenizer: SentencePiece) -> None:
    rows = rows_of(tokenizer, 9, 60)
    rows[:-1, 9] = tokenizer.separator
    found = SampledSegmentation(0.3, tokenizer, 256)(rows, partial(draw, 7, 9))
    assert ((found == tokenizer.separator).sum(-1) == (rows == tokenizer.separator).sum(-1)).all()
    for before, after in zip(rows[:-1], found[:-1], strict=True):
        place = int((after == tokenizer.separator).nonzero())
        assert decode(tokenizer, after[:place]) == decode(tokenizer, before[:9])
    cut = SampledSegmentation(0.3, tokenizer, 20)(rows, partial(draw, 7, 9))
    assert torch.equal(cut, found[:, :20])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", "needs a task that predicts a label or a sequence; task=causal_lm predicts its tokens"),
        (
            "task=classification data=packages model=lstm tokenizer=byte",
            "needs a tokenizer that knows many segmentations of a text; tokenizer=byte does not",
        ),
    ],
)
def test_where_it_makes_no_sense_it_is_refused(words: str, sentence: str) -> None:
    with pytest.raises(Refusal, match=f"data/augment=sampled_segmentation {sentence}"):
        compose(["data/augment=sampled_segmentation", "trainer.accelerator=cpu", *words.split()])
