"""How finely a tokenizer cuts each language: `python -m triad.fertility data=text data.path=pages.jsonl`."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

from triad.config.identity import PREPARATION

GROUP = "Look before training"

ROOTS = ("data", "tokenizer", *PREPARATION)  # the groups that are used here
LONGEST = 1_000_000  # characters of a document that are read


def fertility(
    overrides: list[str],
    by: Literal["language", "none"] = "language",
    split: Literal["train", "val"] = "val",
    megabytes: float = 10.0,
) -> None:
    """Print tokens per word, per character and bytes per token of the text that train.py would read.

    Fertility is the number of tokens for a word (Rust et al. 2021, arXiv:2012.15613): of one language far
    above another it means that fewer of its words fit into a context. A word is of letters, digits and marks,
    in scripts without blanks a character. Languages are found by py3langid; the first `megabytes` are read.
    """
    from importlib.util import find_spec

    from triad.config.build import build
    from triad.config.compose import compose_parts
    from triad.config.locations import tell_install
    from triad.config.tables import print_table
    from triad.data.preparation import find_parts, prepare_source
    from triad.data.progress import track
    from triad.storage.cache import cache_home

    if by == "language" and find_spec("py3langid") is None:
        raise ValueError(f"by=language needs the package py3langid: {tell_install('data')}, or use by=none")
    config = compose_parts(overrides, ROOTS)
    source = prepare_source(config, build({"data": config["data"]} | find_parts(config)))
    tokenizer = build(config["tokenizer"])(source=source, cache=cache_home())
    groups: dict[str, Counter[str]] = {}
    for text in track(read_texts(source, split, int(megabytes * 1e6)), "measuring", None, "texts"):
        sizes = measure(text, tokenizer)
        groups.setdefault(find_language(text) if by == "language" else "all", Counter()).update(sizes)
    title = f"data={source.name}, {split} split, vocabulary {tokenizer.vocab_size:,}"
    ratios = ("tokens per word", "tokens per character", "bytes per token", "unknown", "lost")
    largest_first = dict(sorted(groups.items(), key=lambda group: -group[1]["bytes"]))
    if len(groups) > 1:
        largest_first["all"] = sum(groups.values(), Counter())
    rows = [[name, *describe(sizes)] for name, sizes in largest_first.items()]
    print_table([by if by == "language" else "", "texts", "MB", *ratios], rows, title)


def read_texts(source: Any, split: Any, most_bytes: int) -> Iterator[str]:
    """The first documents of a split, until they have so many bytes."""
    left = most_bytes
    for document in source.documents(split):
        if left <= 0:
            return
        text = document.text[:LONGEST]
        left -= len(text.encode())
        yield text


def find_language(text: str) -> str:
    """The code of the language, as cleaning finds it."""
    from triad.data.clean.language import identify

    return identify(text)


def measure(text: str, tokenizer: Any) -> Counter[str]:
    """What a text comes to: words, tokens, and whether it survives the round trip."""
    from triad.data.word_hashes import classify_letters, hash_words

    ids = tokenizer.encode(text)
    _, words = hash_words([text], classify_letters())
    unknown = 0 if tokenizer.unknown is None else int((ids == tokenizer.unknown).sum())
    sizes = {"characters": len(text), "bytes": len(text.encode()), "words": int(words.sum())}
    lost = int(tokenizer.decode(ids) != text)
    return Counter(sizes | {"texts": 1, "tokens": len(ids), "unknown": unknown, "lost": lost})


def describe(sizes: Counter[str]) -> Iterator[str]:
    """The cells of a row; a share is of tokens that are unknown, and of texts that are not given back."""
    yield f"{sizes['texts']:,}"
    yield f"{sizes['bytes'] / 1e6:.2f}"
    tokens = max(sizes["tokens"], 1)
    yield f"{tokens / sizes['words']:.2f}" if sizes["words"] else "-"
    yield f"{tokens / max(sizes['characters'], 1):.3f}"
    yield f"{sizes['bytes'] / tokens:.2f}"
    yield f"{sizes['unknown'] / tokens:.1%}"
    yield f"{sizes['lost'] / sizes['texts']:.1%}"


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(fertility)
