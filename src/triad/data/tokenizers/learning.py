"""Learning a vocabulary of byte pairs or unigrams from the training split, by sentencepiece."""

import io
import re
import sys
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Annotated, Any

import sentencepiece

from triad.data.sources.source import Source
from triad.data.tokenizers.sentencepiece import LONGEST_PIECE, MODEL, SentencePiece
from triad.storage.cache import build_once
from triad.storage.manifest import fingerprint

SENTENCE = 4096  # characters of one training sentence: so long that a cut seldom matters
RESERVED = re.compile("[\u2581\u2585]")  # sentencepiece learns nothing from a sentence with the second
BYTES_AND_SIGNS = 256 + 2  # byte fallback, the unknown token and the separator: every vocabulary has these


def bpe(
    source: Source,
    cache: Path,
    vocab_size: Annotated[int, ">= 1"],
    hard_vocab_limit: bool,
    sample_bytes: Annotated[int, ">= 1"],
    sample_seed: Annotated[int, ">= 0"],
) -> SentencePiece:
    """Byte-pair encoding: merge the most frequent pair, over and over (Sennrich et al. 2016, 1508.07909).

    It is learned from `sample_bytes` of the training split, drawn by `sample_seed`. A text that does not fill
    the vocabulary is refused, or has what it fills where `hard_vocab_limit` is false.
    """
    return _learn("bpe", source, cache, vocab_size, hard_vocab_limit, sample_bytes, sample_seed)


def unigram(
    source: Source,
    cache: Path,
    vocab_size: Annotated[int, ">= 1"],
    hard_vocab_limit: bool,
    sample_bytes: Annotated[int, ">= 1"],
    sample_seed: Annotated[int, ">= 0"],
) -> SentencePiece:
    """The pieces that make the text most probable under a unigram model (Kudo 2018, arXiv:1804.10959).

    The other arguments are those of `bpe`.
    """
    return _learn("unigram", source, cache, vocab_size, hard_vocab_limit, sample_bytes, sample_seed)


def _learn(
    kind: str,
    source: Source,
    cache: Path,
    vocab_size: int,
    hard_vocab_limit: bool,
    sample_bytes: int,
    sample_seed: int,
) -> SentencePiece:
    source = source.sample(sample_bytes)
    most = BYTES_AND_SIGNS + LONGEST_PIECE * min(source.contents["train"].bytes, sample_bytes)
    settings = {
        "model_type": kind,
        # no more than one above what the text can fill, as sentencepiece says then what it does fill
        "vocab_size": min(max(vocab_size, BYTES_AND_SIGNS + 1), most + 1, 2**31 - 1),
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "allow_whitespace_only_pieces": True,
        "max_sentence_length": 4 * SENTENCE,
        "num_threads": 1,  # the model differs with the number of threads
        **{"unk_id": 0, "eos_id": 1, "bos_id": -1, "pad_id": -1},
        **({} if hard_vocab_limit else {"hard_vocab_limit": False}),
    }
    sample = TextSample(source, sample_bytes, sample_seed)
    folder = cache / f"tokenizer-{fingerprint(settings, sentencepiece.__version__, *sample.origin)}"
    asked = f"tokenizer.vocab_size={vocab_size}: data={source.name}"
    build_once(folder, partial(_train, sample, settings, asked))
    if vocab_size <= BYTES_AND_SIGNS:
        raise ValueError(f"{asked} needs {BYTES_AND_SIGNS + 1} or more; raise tokenizer.vocab_size")
    return SentencePiece((folder / MODEL).read_bytes())


def _train(sample: "TextSample", settings: dict[str, Any], asked: str, folder: Path) -> None:
    model, since = io.BytesIO(), time.monotonic()
    kind, total = settings["model_type"], sample.source.contents["train"].bytes
    size = f"{min(total, sample.most_bytes) / 1e6:.1f} MB"
    print(f"learning {settings['vocab_size']:,} tokens from {size} ...", file=sys.stderr, flush=True)
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sample), model_writer=model, minloglevel=2, **settings
        )
    except RuntimeError as error:
        raise _explain(error, kind, sample.source.name, asked) or error from None
    learned = SentencePiece(model.getvalue())
    learned.write(folder)
    peak = getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(
        f"tokenizer={kind}: {learned.vocab_size:,} tokens learned from"
        f" {sample.read_bytes / 1e6:.1f} of {total / 1e6:.1f} MB in {time.monotonic() - since:.0f} s,"
        f" peak memory {peak / 1e6:,.0f} MB",
        file=sys.stderr,
    )


def _explain(error: RuntimeError, kind: str, name: str, asked: str) -> ValueError | None:
    """What sentencepiece's INTERNAL errors mean in terms of the configuration."""
    if most := re.search(r"too high.*<= (\d+)", str(error)):
        remedy = "lower tokenizer.vocab_size, or tokenizer.hard_vocab_limit=false takes what there is"
        return ValueError(f"{asked} fills at most {most[1]}; {remedy}")
    if least := re.search(r"smaller than required_chars.* vs (\d+)", str(error)):
        return ValueError(f"{asked} needs {least[1]} or more; raise tokenizer.vocab_size")
    if re.search(r"sentences_\.empty|all_chars_count|no pieces", str(error)):
        return ValueError(
            f"tokenizer={kind}: data={name} has nothing that sentencepiece learns from, "
            "such as newlines or NUL alone; use tokenizer=byte or give other text"
        )
    return None


class TextSample:
    """The training text in short stretches with their newlines; of a large one an evenly hashed sample."""

    def __init__(self, source: Source, most_bytes: int, seed: int) -> None:
        self.source, self.most_bytes = source, most_bytes
        self.salt = [seed] if seed else []
        self.read_bytes = 0

    @property
    def origin(self) -> tuple[Any, ...]:
        """What the stretches follow from."""
        text = self.source.contents["train"].fingerprint
        return text, self.most_bytes, SENTENCE, RESERVED.pattern, *self.salt

    def __iter__(self) -> Iterator[str]:
        total = self.source.contents["train"].bytes
        for name, pieces, _ in self.source.documents("train"):
            for number, sentence in enumerate(_cut_evenly(pieces, SENTENCE)):
                place = int(fingerprint(name, number * SENTENCE, *self.salt)[:8], 16)
                if place * total < self.most_bytes * 2**32:
                    size = len(sentence.encode())
                    if self.read_bytes + size > self.most_bytes:
                        return
                    self.read_bytes += size
                    yield from filter(None, RESERVED.split(sentence))


def _cut_evenly(pieces: Iterable[str], size: int) -> Iterator[str]:
    """The stretches of `size` characters of a text that comes in pieces; the last may be shorter."""
    rest = ""
    for piece in pieces:
        rest += piece
        whole = len(rest) - len(rest) % size
        yield from (rest[start : start + size] for start in range(0, whole, size))
        rest = rest[whole:]
    if rest:
        yield rest
