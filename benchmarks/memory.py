"""A translation memory: CPU time of a fuzzy look-up, and how much of what a scan of all finds it finds.

    python benchmarks/memory.py [source=FILE] [entries=100000] [queries=300]

`source` has a segment a line; without it they are generated, words by Zipf's law. The first `entries`
different lines are in the memory. Queries are lines that are not, and lines that are, with one word in five
exchanged. Both must find a match of the least score; the scan, of rapidfuzz, compares all entries.
"""

import random
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))

from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import extractOne

from triad.config.command_line import run_command
from triad.data.translation_memory import TranslationMemory

HEAD = "| queries | score | matches | found | ms a look-up, median | 95 % below | ms a scan |"


def memory(source: str | None = None, entries: int = 100_000, queries: int = 300) -> None:
    """Print a row for each kind of query and each least score."""
    lines = [*islice(dict.fromkeys(read(source)), entries + queries)]
    random.Random(0).shuffle(lines)
    kept, others = lines[queries:], lines[:queries]
    words = [word for line in others for word in line.split()]
    draw = random.Random(1)
    edited = [edit(line, words, draw) for line in draw.sample(kept, queries)]
    with TemporaryDirectory() as folder:
        found = TranslationMemory(Path(folder, "memory.sqlite"), make=True)
        since = time.process_time()
        found.add((line, line.upper()) for line in kept)
        size = found.path.stat().st_size / 1e6
        print(f"{len(found):,} entries added in {time.process_time() - since:.1f} s, {size:.0f} MB")
        print(f"\n{HEAD}\n|---|---|---|---|---|---|---|")
        found.find_similar("the first one reads the sizes of all entries")
        for name, asked in (("not in it", others), ("edited", edited)):
            compare(name, asked, found, kept)
        found.close()


def compare(name: str, asked: list[str], found: TranslationMemory, kept: list[str]) -> None:
    """Look the queries up, and scan for them."""
    ours, theirs, taken_ms = [], [], []
    for query in asked:
        since = time.process_time()
        matches = found.find_similar(query, least=0.5)
        taken_ms.append(1e3 * (time.process_time() - since))
        ours.append(matches[0].score if matches else 0.0)
    since = time.process_time()
    for query in asked:
        best = extractOne(query, kept, scorer=Levenshtein.normalized_similarity, score_cutoff=0.5)
        theirs.append(best[1] if best else 0.0)
    scan_ms = 1e3 * (time.process_time() - since) / len(asked)
    for least in (0.5, 0.6, 0.7, 0.8):
        pairs = [pair for pair in zip(ours, theirs, strict=True) if pair[1] >= least]
        share = f"{sum(mine >= best for mine, best in pairs) / len(pairs):.1%}" if pairs else "-"
        times = f"{median(taken_ms):.1f} | {quantiles(taken_ms, n=20)[-1]:.1f} | {scan_ms:.0f}"
        print(f"| {name} | {least} | {len(pairs)} | {share} | {times} |", flush=True)


def read(source: str | None) -> Iterator[str]:
    """The lines of a file, or generated ones."""
    if source is not None:
        with Path(source).open(encoding="utf-8") as file:
            yield from (line.strip() for line in file if line.strip())
        return
    draw = random.Random(2)
    vocabulary = ["".join(draw.choices("etaoinshrdlu", k=draw.randrange(2, 10))) for _ in range(30_000)]
    weights = [1 / (rank + 10) for rank in range(30_000)]
    while True:
        yield " ".join(draw.choices(vocabulary, weights, k=draw.randrange(5, 25)))


def edit(line: str, words: list[str], draw: random.Random) -> str:
    """One word in five exchanged."""
    changed = line.split()
    for _ in range(max(1, len(changed) // 5)):
        changed[draw.randrange(len(changed))] = draw.choice(words)
    return " ".join(changed)


if __name__ == "__main__":
    run_command(memory)
