"""From a source to the rows that a model is trained on, which depend on what the source yields."""

from functools import partial
from pathlib import Path
from typing import Any

from triad.data.documents import ContinuedFile, DocumentFile
from triad.data.example_rows import makes_rows, prepare_rows
from triad.data.mixed_rows import MixedWindows
from triad.data.mixed_tokens import MixedTokens, prepare_mixture
from triad.data.packing import pack
from triad.data.pairs import PaddedBatches, PairFile
from triad.data.sources.mixture import Mixture
from triad.data.sources.source import Source
from triad.data.token_files import Tokens, prepare_tokens
from triad.data.tokenizers.tokenizer import Tokenizer, load_tokenizer
from triad.data.windows import Windows
from triad.schedules.batch_size import Rule
from triad.storage.cache import cache_home

PADDED = {"pairs": PairFile, "labels": DocumentFile}  # rows by length, not windows of a text


def tokenize(
    source: Source, make_tokenizer: Any, kept: Path | None = None
) -> tuple[Tokenizer, Tokens | MixedTokens]:
    """The tokenizer for a source, and its text as tokens, from the cache when they were made before.

    That of a mixture, which may be resumed with other sources, is the run's own, `kept` in its folder, if
    there is one.
    """
    if not isinstance(source, Mixture):
        tokenizer = make_tokenizer(source=source, cache=cache_home())
        return tokenizer, prepare_tokens(source, tokenizer, cache_home())
    if kept and kept.is_dir():
        tokenizer = load_tokenizer(kept)
    else:
        tokenizer = make_tokenizer(source=source, cache=cache_home())
    return tokenizer, prepare_mixture(source, tokenizer, cache_home())


def make_datamodule(
    source: Source,
    tokens: Tokens | MixedTokens,
    separator: int | None,
    context: int,
    batch: Rule,
    seed: int,
    packing: str,
    shuffle: str,
    task: Any = None,
    asked: dict[str, Any] | None = None,
) -> Any:
    """Batches of the rows that a source yields, or that a task makes of examples, for a Lightning trainer.

    `asked` is all that tells the task from another: its configuration, and what the model sees.
    """
    if isinstance(tokens, MixedTokens):
        return MixedWindows(tokens, context, batch, seed, packing, shuffle)
    anew = shuffle == "every_epoch"
    if makes_rows(source, task):
        assert asked is not None
        rows = prepare_rows(source, tokens.fingerprint, task, asked, context)
    elif source.yields in PADDED or batch.tokens:
        read = PADDED.get(source.yields, ContinuedFile)
        if source.yields == "pairs":
            sides = {"longest": getattr(task, "longest", None), "joined": getattr(task, "joined", False)}
            read = partial(PairFile, **sides)
        rows = read(tokens.train, context, separator), read(tokens.val, context, separator)
    else:
        train, val = pack(tokens.train, context, packing, shuffle), pack(tokens.val, context, packing)
        return Windows(train, val, batch, seed)
    return PaddedBatches(*rows, context, batch, seed, anew)
