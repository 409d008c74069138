"""Near-duplicates: speed against datasketch and datatrove, and memory as the text grows.

    pip install datasketch datatrove
    python benchmarks/dedup.py [megabytes=10] [memory=10,100]

Generated documents of 50 to 600 words, of which a tenth are another one with a few words exchanged. All find
duplicates by 5-grams of words in 14 bands of 8 rows; datasketch and datatrove do not verify what they find.
datatrove's word tokenizer is replaced by one that splits at blanks, which is faster. A peer that is not
installed is left out. Each size of `memory` is done by a process of its own.
"""

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from tempfile import TemporaryDirectory
from typing import Any

from triad.config.command_line import run_command
from triad.data.dedup.near import NearDuplicates

Documents = Iterator[tuple[Any, str, str]]
PART = NearDuplicates(words=5, bands=14, rows=8, threshold=0.8)


def generate(megabytes: float) -> Documents:
    """Documents of words by Zipf's law; the name of a near-duplicate ends in "again"."""
    draw = random.Random(0)
    vocabulary = ["".join(draw.choices("etaoinshrdlu", k=draw.randrange(2, 10))) for _ in range(50_000)]
    weights, total = [1 / (rank + 10) for rank in range(50_000)], 0.0
    cumulated = [total := total + weight for weight in weights]
    size, number = 0, 0
    while size < megabytes * 1e6:
        words = draw.choices(vocabulary, cum_weights=cumulated, k=draw.randrange(50, 600))
        for name in (f"{number}", f"{number} again")[: 1 + (draw.random() < 0.1)]:
            text = " ".join(words)
            yield "train", name, text
            size += len(text)
            at = draw.randrange(len(words))
            words[at : at + 2] = ["exchanged"]
        number += 1


def find_with_ours(documents: list, folder: Path) -> int:
    return len(PART.find_dropped(lambda: iter(documents), folder).dropped)


def find_with_datasketch(documents: list, folder: Path) -> int:
    peer: Any = import_module("datasketch")

    index, found = peer.MinHashLSH(num_perm=112, params=(14, 8)), 0
    for _, name, text in documents:
        words = text.split()
        signature = peer.MinHash(num_perm=112)
        signature.update_batch([" ".join(words[k : k + 5]).encode() for k in range(len(words) - 4)])
        found += bool(index.query(signature))
        index.insert(name, signature)
    return found


def find_with_datatrove(documents: list, folder: Path) -> int:
    minhash: Any = import_module("datatrove.pipeline.dedup.minhash")
    document: Any = import_module("datatrove.data").Document
    hashing: Any = import_module("datatrove.utils.hashing").HashConfig

    class Blanks:
        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

    minhash.load_word_tokenizer = lambda language: Blanks()
    sha1 = hashing(hash_fc="sha1")  # its default fails with xxhash 4
    config = minhash.MinhashConfig(5, num_buckets=14, hashes_per_bucket=8, hash_config=sha1)
    signatures, buckets, remove = (str(folder / name) for name in ("signatures", "buckets", "remove"))
    stream = (document(text=text, id=name) for _, name, text in documents)
    minhash.MinhashDedupSignature(signatures, config=config).run(stream, 0, 1)
    for bucket in range(14):
        minhash.MinhashDedupBuckets(signatures, buckets, config=config).run(None, bucket, 14)
    minhash.MinhashDedupCluster(buckets, remove, config=config).run(None, 0, 1)
    return sum(path.stat().st_size // 4 for path in Path(remove).glob("*.remove"))


CONTESTANTS: dict[str, Callable[[list, Path], int]] = {
    "ours": find_with_ours,
    "datasketch": find_with_datasketch,
    "datatrove": find_with_datatrove,
}


def measure_memory(megabytes: float) -> None:
    """Print the peak of this process before and after, in MB, disk in MB and seconds."""
    for _ in generate(0.1):
        pass
    with TemporaryDirectory() as folder:
        PART.find_dropped(lambda: generate(0.3), Path(folder, "first"))
        before, start = getrusage(RUSAGE_SELF).ru_maxrss, time.perf_counter()
        facts = PART.find_dropped(lambda: generate(megabytes), Path(folder, "second")).facts
        seconds = time.perf_counter() - start
    peaks = [round(kilobytes / 1024) for kilobytes in (before, getrusage(RUSAGE_SELF).ru_maxrss)]
    print(*peaks, round(facts["disk_bytes"] / 1e6), round(seconds, 1))


def dedup(megabytes: float = 10, memory: str = "10,100", measure: float | None = None) -> None:
    """Compare near-duplicates' speed and memory."""
    if measure is not None:
        return measure_memory(measure)
    documents = list(generate(megabytes))
    planted = sum(name.endswith("again") for _, name, _ in documents)
    size, speeds = sum(len(text) for *_, text in documents) / 1e6, {}
    print("| near-duplicates by | MB/s | ours is faster by | found |\n|---|---|---|---|")
    for name, find in CONTESTANTS.items():
        with TemporaryDirectory() as folder:
            start = time.perf_counter()
            try:
                found = find(documents, Path(folder, "work"))
            except ImportError as error:
                print(f"| {name} | {error} |  |  |")
                continue
            speeds[name] = size / (time.perf_counter() - start)
        print(f"| {name} | {speeds[name]:.1f} | {speeds['ours'] / speeds[name]:.1f} | {found} of {planted} |")
    print("\n| text, MB | memory before, MB | peak, MB | disk, MB | s |\n|---|---|---|---|---|")
    for size in memory.split(","):
        command = [sys.executable, __file__, f"measure={size}"]
        print(f"| {size} |", " | ".join(subprocess.check_output(command, text=True).split()), "|")


if __name__ == "__main__":
    run_command(dedup)
