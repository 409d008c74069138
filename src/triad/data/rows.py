"""From a source to the rows that a model is trained on, which depend on what the source yields."""

from typing import Any

from triad.data.documents import ContinuedDocuments, Documents
from triad.data.packing import pack
from triad.data.pairs import Pairs
from triad.data.sources.source import Source
from triad.data.token_files import Tokens, prepare_tokens
from triad.data.tokenizers.tokenizer import Tokenizer
from triad.data.windows import Windows
from triad.schedules.batch_size import Rule
from triad.storage.cache import cache_home

PADDED = {"pairs": Pairs, "labels": Documents}  # batches of neighbouring lengths, not windows of a text


def tokenize(source: Source, make_tokenizer: Any) -> tuple[Tokenizer, Tokens]:
    """The tokenizer for a source, and its text as tokens, from the cache when they were made before."""
    tokenizer = make_tokenizer(source=source, cache=cache_home())
    return tokenizer, prepare_tokens(source, tokenizer, cache_home())


def make_datamodule(
    source: Source,
    tokens: Tokens,
    separator: int | None,
    context: int,
    batch: Rule,
    seed: int,
    packing: str,
    shuffle: str,
) -> Any:
    """Batches of the rows that a source yields, for a Lightning trainer."""
    anew = shuffle == "every_epoch"
    if source.yields in PADDED:
        return PADDED[source.yields](tokens, context, batch, seed, separator, anew)
    if batch.tokens:
        return ContinuedDocuments(tokens, context, batch, seed, separator, anew)
    train, val = pack(tokens.train, context, packing, shuffle), pack(tokens.val, context, packing)
    return Windows(train, val, batch, seed)
