"""A rank that prepares tokens; it imports no torch, which would be most of its time."""

from multiprocessing import Queue
from pathlib import Path

from triad.data.sources.source import Source
from triad.data.token_files import prepare_tokens
from triad.data.tokenizers.learning import bpe


def prepare_and_report(source: Source, cache: Path, answers: Queue) -> None:
    """The first tokens of training."""
    tokenizer = bpe(source, cache, 300, hard_vocab_limit=True, sample_bytes=1 << 20, sample_seed=0)
    answers.put(prepare_tokens(source, tokenizer, cache).train.tokens[:50].tolist())
