"""How fast text is cleaned: each filter, and beside the library that does the same, in one run on one core.

    python benchmarks/data.py [megabytes=4] [rounds=3] [memory=10,100] [key=value ...]

Reads the first megabytes of the source that the words choose (data=stdlib unless they do), cut into pages of
some 3,000 characters. Peers are the bare calls of a library: ftfy, unicodedata, selectolax, py3langid,
sentencepiece, and datatrove's filters. Both sides of the last split words by the same function, as
datatrove's own, spaCy, takes 30 times as long. Prints Markdown tables; rounds of the two sides alternate, and
the ratio is that of their medians. Then each size of `memory` is prepared by a process of its own: generated
documents, `data/clean=basic data/dedup=exact`; memory is the most of the first process and of any other.
"""

import json
import os
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.dedup import generate
from triad.config.build import build
from triad.config.command_line import run_command
from triad.config.compose import compose
from triad.data.clean.drop import Drop
from triad.data.clean.words import split_words
from triad.data.preparation import find_parts, make_preparation, prepare
from triad.data.sources.source import Source

PAGE = 3000  # characters
RULES = ("gopher_repetition", "gopher_quality", "fineweb_quality")
BASIC = ("control_characters", "normalization")
Pass = Callable[[str], Any]


def data(
    overrides: list[str],
    megabytes: float = 4.0,
    rounds: int = 3,
    memory: str = "10,100",
    measure: float | None = None,
) -> None:
    """Time filters on the text of a source, and measure the memory of a preparation."""
    if measure is not None:
        return measure_memory(measure)
    config = compose(["data/clean=web", "data/privacy=mask", *overrides])
    pages = read_pages(build(config["data"]), int(megabytes * 1e6))
    size = sum(len(page.encode()) for page in pages)
    filters: dict[str, Any] = build(config["clean"]["filters"]) | {"privacy": build(config["privacy"])}
    bare = make_bare()
    everywhere = [partial(filters[name], languages=None) for name in RULES]
    passes: dict[str, Pass] = {
        "control characters and normalization": partial(run_all, [filters[name] for name in BASIC])
    }
    passes |= {"Gopher and FineWeb": partial(run_all, everywhere)} | filters
    passes |= {name: bare[name] for name in bare if name.partition(",")[0] in passes}
    passes["language"] = partial(filters["language"], keep=["en"])
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
    print("\n| pass | speed, bare library = 1 |\n|---|---|")
    for name in passes:
        if theirs := next((times[key] for key in passes if key.startswith(f"{name}, ")), None):
            print(f"| {name} | {median(theirs) / median(times[name]):.2f} |")
    print(
        "\n| text, MB | memory before, MB | peak, MB | of another process, MB | MB/s |\n|---|---|---|---|---|"
    )
    for text_size in memory.split(",") if memory else ():
        command = [sys.executable, __file__, f"measure={text_size}"]
        print(f"| {text_size} |", " | ".join(subprocess.check_output(command, text=True).split()), "|")


def measure_memory(megabytes: float) -> None:
    """Prepare a generated text in a cache of its own; print peaks in MB, and MB a second."""
    with TemporaryDirectory() as folder:
        os.environ["TRIAD_CACHE"] = f"{folder}/cache"
        path = Path(folder, "text.jsonl")
        with path.open("w") as file:
            for _, _, text in generate(megabytes):
                file.write(json.dumps({"text": text}) + "\n")
        words = ["data=text", f"data.path={path}", "data/clean=basic", "data/dedup=exact"]
        config = compose([*words, "trainer.accelerator=cpu"])
        source, preparation = build(config["data"]), make_preparation(config, build(find_parts(config)))
        before, since = getrusage(RUSAGE_SELF).ru_maxrss, time.perf_counter()
        prepare(source, preparation)
        seconds = time.perf_counter() - since
        peaks = (before, *(getrusage(who).ru_maxrss for who in (RUSAGE_SELF, RUSAGE_CHILDREN)))
        print(*(round(kilobytes / 1024) for kilobytes in peaks), round(megabytes / seconds, 1))


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


def make_bare() -> dict[str, Pass]:
    """What a library alone takes for the work of one of our filters, by our filter and the library's name."""
    from ftfy import fix_encoding
    from py3langid import classify
    from selectolax.lexbor import LexborHTMLParser

    return {
        "encoding, ftfy": fix_encoding,
        "normalization, unicodedata": partial(unicodedata.normalize, "NFC"),
        "html, selectolax": lambda page: LexborHTMLParser(page).text(),
        "language, py3langid": classify,
    }


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
