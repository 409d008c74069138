"""A tokenizer of learned byte pairs."""

import io

import pytest
import sentencepiece

from triad.data.tokenizers.sentencepiece import SentencePiece


@pytest.fixture(scope="session")
def bpe() -> SentencePiece:
    """Words of one sentence merged, all else in bytes."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the cat sat on the mat with the other cat"] * 20),
        model_writer=model,
        model_type="bpe",
        vocab_size=290,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        minloglevel=2,
        **{"unk_id": 0, "eos_id": 1, "bos_id": -1, "pad_id": -1},
    )
    return SentencePiece(model.getvalue())
