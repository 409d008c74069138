"""How fast text is cleaned: each filter, and the web's rules beside datatrove's, in one run on one core.

    python benchmarks/data.py [megabytes=4] [rounds=3] [key=value ...]

Reads the first megabytes of the source that the words choose (data=stdlib unless they do), cut into pages of
some 3,000 characters. Both sides split words by the same function, as datatrove's own, spaCy, takes 30 times
as long. Prints a Markdown table; rounds of the two sides alternate, and the ratio is that of their medians.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from triad.config.build import build
from triad.config.command_line import run_command
from triad.config.compose import compose
from triad.data.clean.drop import Drop
from triad.data.clean.words import split_words
from triad.data.sources.source import Source

PAGE = 3000  # characters
RULES = ("gopher_repetition", "gopher_quality", "fineweb_quality")
BASIC = ("control_characters", "normalization")
Pass = Callable[[str], Any]


def data(overrides: list[str], megabytes: float = 4.0, rounds: int = 3) -> None:
    """Time filters on the text of a source."""
    config = compose(["data/clean=web", "data/privacy=mask", *overrides])
    pages = read_pages(build(config["data"]), int(megabytes * 1e6))
    size = sum(len(page.encode()) for page in pages)
    filters: dict[str, Any] = build(config["clean"]["filters"]) | {"privacy": build(config["privacy"])}
    everywhere = [partial(filters[name], languages=None) for name in RULES]
    passes: dict[str, Pass] = {
        "control characters and normalization": partial(run_all, [filters[name] for name in BASIC])
    }
    passes |= {"Gopher and FineWeb": partial(run_all, everywhere)} | filters
    peer = make_datatrove()
    if peer:
        passes["Gopher and FineWeb, datatrove"] = peer
        same = sum(isinstance(run_all(everywhere, page), Drop) == (not peer(page)) for page in pages)
        print(f"Same work: {same} of {len(pages)} pages are kept or dropped alike.\n")
    times = {name: [] for name in passes}
    for _ in range(rounds):
        for name, apply in passes.items():
            split_words.cache_clear()
            since = time.process_time()
            for page in pages:
                apply(page)
            times[name].append(time.process_time() - since)
    print("| pass | MB/s |\n|---|---|")
    for name, taken_s in times.items():
        print(f"| {name} | {size / median(taken_s) / 1e6:.1f} |")
    if peer:
        ours, theirs = (median(times[f"Gopher and FineWeb{end}"]) for end in ("", ", datatrove"))
        print(f"\nGopher and FineWeb: {theirs / ours:.2f} times as fast as datatrove.")


def read_pages(source: Source, size: int) -> list[str]:
    """The first characters of the training split as pages."""
    return list(islice(_cut_pages(source), -(-size // PAGE)))


def _cut_pages(source: Source) -> Iterator[str]:
    for document in source.documents("train"):
        text = document.text
        yield from (text[start : start + PAGE] for start in range(0, len(text), PAGE))


def run_all(filters: Sequence[Pass], page: str) -> Any:
    """What is left of a page, or the first Drop."""
    left: Any = page
    for apply in filters:
        left = apply(left)
        if isinstance(left, Drop):
            break
    return left


def make_datatrove() -> Pass | None:
    """Whether datatrove's filters keep a page; None where it is not installed."""
    try:
        document: Any = import_module("datatrove.data").Document
        filters: Any = import_module("datatrove.pipeline.filters")
        word_tokenizers: Any = import_module("datatrove.utils.word_tokenizers")
    except ImportError:
        print("datatrove is not installed: no comparison\n")
        return None

    class Splitter:
        word_tokenize = staticmethod(split_words)

    word_tokenizers.load_word_tokenizer = lambda language: Splitter
    theirs = (
        filters.GopherRepetitionFilter(),
        filters.GopherQualityFilter(),
        filters.FineWebQualityFilter(char_duplicates_ratio=0.1),
    )

    def keep(page: str) -> bool:
        read = document(text=page, id="page")
        return all(one.filter(read) is True for one in theirs)

    return keep


if __name__ == "__main__":
    run_command(data)
