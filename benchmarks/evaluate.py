"""`triad evaluate` against transformers' generate: translations with equal weights, and the time of metrics.

    python benchmarks/evaluate.py source=test.en target=test.de [rows=1000] [beams=5] [rounds=1] [depth=2]
                                  [width=128] [heads=4] [tokens=32] [threads=null]

A T5 of random weights reads the sources as bytes cut to `tokens`, and writes as many tokens by beam search,
as nothing ends before. In one process the two take turns on the same sources: ours through System.predict,
theirs in the same batches. The tokens must be equal. Then the sources are scored against the targets by BLEU
and chrF, with intervals by 1,000 resamples: they are about as much text as translations.
"""

import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.loop import settle_threads
from benchmarks.transformers_models import Sizes, t5
from triad.config.command_line import run_command
from triad.decoding.beam import Beam
from triad.decoding.decode import decode
from triad.evaluation.scoring import find_figures, score_predictions
from triad.evaluation.system import System, count_places, deal
from triad.hardware.place import find_place
from triad.launch.rank import quieten
from triad.metrics.bleu import BLEU
from triad.metrics.chrf import ChrF
from triad.runs.directory import Run

BEGIN = 0  # also the padding of transformers' T5


class Translate:
    """A task that reads the bytes of a source and writes tokens by beam search."""

    reads = ("source_BS",)

    def __init__(self, beams: int, tokens: int) -> None:
        self.beam = Beam(beams, 1.0, "power", early_stopping=False, repetition_penalty=1.0)
        self.tokens = tokens

    def encode(self, example: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"source_BS": [byte + 1 for byte in example["source"].encode()[: self.tokens]]}]

    def inputs(self, batch: dict, draw: Callable) -> dict:
        return {}

    def predict(self, model: Any, source_BS: torch.Tensor) -> list[list[int]]:
        sources = [[token for token in row if token >= 0] for row in source_BS.tolist()]
        asked: Any = {"ends": (), "max_tokens": self.tokens, "context": self.tokens + 1, "vocab_size": None}
        found = decode(model, [[BEGIN]] * len(sources), self.beam, sources=sources, **asked)
        return [best.tokens for best, *_ in found]


@torch.no_grad()
def evaluate(
    source: str,
    target: str,
    rows: int = 1000,
    beams: int = 5,
    rounds: int = 1,
    depth: int = 2,
    width: int = 128,
    heads: int = 4,
    tokens: int = 32,
    threads: int | None = None,
) -> None:
    """Print seconds of both, their ratio, and the share of metrics in all of an evaluation."""
    quieten()
    settle_threads(threads)
    theirs, ours = t5(Sizes(depth, width, heads, tokens + 1, 257, spread=3.0))
    texts, references = (read(path, rows) for path in (source, target))
    task = Translate(beams, tokens)
    examples = [{"source": text} for text in texts]
    rest = SimpleNamespace(), 0, "model", find_place("cpu", "32-true")
    system = System(Run(Path("benchmark")), {}, task, {}, ours, *rest)
    seconds = []
    for _ in range(rounds):
        since = time.perf_counter()
        mine = system.predict(examples)
        half = time.perf_counter()
        other = generate_theirs(theirs, task, examples)
        seconds.append((half - since, time.perf_counter() - half))
        assert mine == other, "not the same tokens"
    ours_s, theirs_s = (median(column) for column in zip(*seconds, strict=True))
    since = time.perf_counter()
    metrics = {"bleu": BLEU("13a", lowercase=False), "chrf": ChrF(word_order=0)}
    scored = score_predictions("copy", metrics, texts, [[text] for text in references])
    counted_s = time.perf_counter() - since
    find_figures(metrics, scored, resamples=1000, seed=0)
    metrics_s = time.perf_counter() - since
    print(f"{len(examples):,} sources, beam {beams}, {tokens} tokens each, T5 of {depth} x {width}: same")
    print("\n| ours, s | transformers, s | speed, ratio | metrics, s | intervals, s | metrics, share |")
    print("|---|---|---|---|---|---|")
    share = metrics_s / (ours_s + metrics_s)
    cells = f"{ours_s:.1f}", f"{theirs_s:.1f}", f"{theirs_s / ours_s:.2f}", f"{counted_s:.2f}"
    print(f"| {' | '.join(cells)} | {metrics_s - counted_s:.2f} | {share:.1%} |")


def read(path: str, rows: int) -> list[str]:
    """The first lines of a file."""
    with open(path, encoding="utf-8") as file:
        return [line.strip() for line in islice(file, rows)]


def generate_theirs(model: Any, task: Translate, examples: list[dict[str, Any]]) -> list[list[int]]:
    """The same by transformers, in the batches that ours has."""
    encoded = [task.encode(example)[0] for example in examples]
    found: list[list[int]] = [[]] * len(encoded)
    for chosen in deal(list(map(count_places, encoded))):
        sources = [encoded[row]["source_BS"] for row in chosen]
        width = max(map(len, sources))
        ids = torch.tensor([[*row, *[BEGIN] * (width - len(row))] for row in sources])
        words = {"max_new_tokens": task.tokens, "do_sample": False, "num_beams": task.beam.beams}
        texts = model.generate(ids, attention_mask=(ids != BEGIN).long(), use_cache=True, **words)
        for row, tokens in zip(chosen, texts[:, 1:].tolist(), strict=True):
            found[row] = tokens
    return found


if __name__ == "__main__":
    run_command(evaluate)
