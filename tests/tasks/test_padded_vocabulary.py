"""pad_vocab_to_multiple_of rounds the rows of a model up; those that are added are no token."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.conftest import Run
from triad.checkpoints.trained import count_rows, trained
from triad.decoding.decode import decode
from triad.decoding.greedy import Greedy
from triad.models.decoder import Decoder
from triad.models.encoder import Encoder


def test_special_tokens_come_before_the_rows_that_are_added() -> None:
    plain, two = SimpleNamespace(), SimpleNamespace(special_tokens=2)
    assert count_rows(50257, plain, partial(Decoder), 64) == 50304  # nanoGPT's
    assert count_rows(50257, plain, partial(Decoder), 1) == 50257
    assert count_rows(64, plain, partial(Decoder), 64) == 64
    assert count_rows(64, plain, partial(Encoder), 64) == 128  # the mask
    assert count_rows(30, two, partial(Encoder), 8) == 32


def test_greedy_decoding_passes_over_the_rows_that_are_added() -> None:
    class Fixed(torch.nn.Linear):
        def empty_cache(self, rows: int) -> None:
            return None

        def forward(self, source_BS, tokens_BT, cache):
            return torch.tensor([0.0, 2.0, 1.0, 9.0]).expand(*tokens_BT.shape, 4), ()

    two: Any = {"sources": [[0, 0, 0]] * 2, "ends": (), "max_tokens": 2, "context": 2}
    for vocab_size, likeliest in ((4, 3), (3, 1)):
        found = decode(Fixed(1, 1), [[0], [0]], Greedy(), vocab_size=vocab_size, **two)
        assert [best.tokens for (best,) in found] == [[likeliest] * 2] * 2


@pytest.mark.parametrize("words", ["", "model=encoder task=masked_lm", "task=copy model=encoder_decoder"])
def test_a_run_with_a_padded_vocabulary_is_read_again(train: Run, tmp_path: Path, text: Path, words) -> None:
    source = ["data=text", f"data.path={text}"] if "copy" not in words else ["data=letters", "tokenizer=char"]
    few = ["debug=tiny", "trainer.max_steps=2", "run_id=a", "pad_vocab_to_multiple_of=64"]
    train(*words.split(), *source, *few)
    model, tokenizer = trained(tmp_path / "outputs" / "a")
    rows = {len(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    assert tokenizer.vocab_size == (26 if "copy" in words else 257)
    assert rows >= {64 if "copy" in words else 320}
    assert (tmp_path / "outputs" / "a" / "samples.txt").read_text(encoding="utf-8")
    if not words:
        refused = train("resume=outputs/a", "pad_vocab_to_multiple_of=8", code=2).stderr
        assert "pad_vocab_to_multiple_of" in refused
