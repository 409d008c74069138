"""What a plain GPT-2 learns in five minutes of wall clock: the curve that train.py's is drawn against.

    python benchmarks/five_minutes.py [seconds=300] [lrs=6e-4,1e-3,2e-3,4e-3] [depth=4] [width=192] [heads=4]
                                      [context=256] [batch=16] [evaluate_every_s=60] [csv=five_minutes.csv]
                                      [warmup=0.02] [seed=0] [threads=null] [key=value of train.py ...]

nanoGPT's recipe in fp32 (betas 0.9 and 0.95, weight decay 0.1, clipping at 1, cosine to a tenth after a
warm-up) on the tokens, batches and initial weights of `python train.py model=gpt2`, once for each learning
rate. The rate follows the clock, and the clock stands still during evaluation.
"""

import csv as files
import math
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.loop import settle_threads
from benchmarks.peers import GPT2, copied, optimizer, update
from triad.config.build import build
from triad.config.command_line import run_command
from triad.config.compose import compose
from triad.data.batches import TrainBatches, ValBatches
from triad.data.packing import IGNORED, pack
from triad.data.token_files import Tokens, prepare_tokens
from triad.hardware.device import describe
from triad.launch.rank import quieten
from triad.optim.initialise import initialise
from triad.storage.cache import cache_home


class Point(NamedTuple):
    """A row of the CSV."""

    lr: float
    seconds: float
    step: int
    bits_per_byte: float


def rate(progress: float, warmup: float, final: float = 0.1) -> float:
    """Multiplier of the learning rate when this fraction of the time has gone.

    final + (1 - final) (1 + cos(pi t)) / 2      Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5
    """
    if progress < warmup:
        return max(progress, 0.1 * warmup) / warmup  # no update at rate zero
    t = min(1.0, (progress - warmup) / (1 - warmup))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * t))


@torch.no_grad()
def bits_per_byte(model: nn.Module, tokens: Tokens, context: int, rows: int) -> float:
    """Nats of all validation targets / (their number * ln 2 * bytes per token), as CausalLM has it."""
    nats, count = 0.0, 0
    for batch in ValBatches(pack(tokens.val, context, "windows"), rows, rank=0, ranks=1, limit=None):
        logits_NV = model(batch["tokens_BT"].clamp(min=0)).flatten(0, 1)  # padding is -1
        targets_N = batch["targets_BT"].flatten()
        nats += F.cross_entropy(logits_NV, targets_N, ignore_index=IGNORED, reduction="sum").item()
        count += batch["count"]
    return nats / count / (math.log(2) * tokens.val.bytes_per_token)


def curve(
    model: GPT2,
    data: TrainBatches,
    tokens: Tokens,
    lr: float,
    seconds: float,
    warmup: float,
    evaluate_every_s: float,
) -> list[Point]:
    """Train for some seconds; the points of its validation curve."""
    adamw, clock, step, points = optimizer(model, lr), 0.0, 0, []
    while clock < seconds:
        since = time.perf_counter()
        for group in adamw.param_groups:
            group["lr"] = lr * rate(clock / seconds, warmup)
        batch = data.batch(step)
        update(model, adamw, batch["tokens_BT"], batch["targets_BT"])
        clock, step = clock + time.perf_counter() - since, step + 1
        if clock >= min(seconds, evaluate_every_s * (len(points) + 1)):
            found = bits_per_byte(model, tokens, batch["tokens_BT"].shape[1], data.batch_rows(0))
            points.append(Point(lr, clock, step, found))
            print(f"lr {lr:g}  {clock:.0f} s  step {step}  val bits per byte {found:.4f}", flush=True)
    return points


def five_minutes(
    overrides: list[str],
    seconds: float = 300,
    lrs: str = "6e-4,1e-3,2e-3,4e-3",
    depth: int = 4,
    width: int = 192,
    heads: int = 4,
    context: int = 256,
    batch: int = 16,
    warmup: float = 0.02,
    evaluate_every_s: float = 60,
    csv: str = "five_minutes.csv",
    seed: int = 0,
    threads: int | None = None,
) -> None:
    """Train the plain loop for `seconds` with each learning rate; write its validation curves to `csv`."""
    quieten()
    settle_threads(threads)
    words = ("model=gpt2", f"model.depth={depth}", f"model.width={width}", f"model.attention.heads={heads}")
    config = compose([*words, f"context={context}", f"batch.size={batch}", f"seed={seed}", *overrides])
    part = build({key: config[key] for key in ("model", "data", "tokenizer", "batch")})
    tokenizer = part["tokenizer"](source=part["data"], cache=cache_home())
    tokens, rows = prepare_tokens(part["data"], tokenizer, cache_home()), part["batch"]
    order: Any = (
        pack(tokens.train, context, "windows"),
        lambda step: rows(step + 1) - rows(step),
        rows,
        seed,
    )
    shape = f"{depth} x {width}, batch {batch} x {context}"
    print(f"{describe(torch.device('cpu'))}, torch {torch.__version__}; {shape}")
    points = []
    for lr in (float(word) for word in lrs.split(",")):
        ours = part["model"](vocab_size=tokenizer.vocab_size)
        initialise(ours, seed)
        data = TrainBatches(*order, start=0, rank=0, ranks=1)
        points += curve(copied(ours), data, tokens, lr, seconds, warmup, evaluate_every_s)
        _write(Path(csv), points)
    _report(points, seconds, tokens.xz_bits_per_byte)


def _write(path: Path, points: list[Point]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        files.writer(file).writerows([Point._fields, *points])


def _report(points: list[Point], seconds: float, xz: float | None) -> None:
    last = {point.lr: point for point in points}
    best = min(last.values(), key=lambda point: point.bits_per_byte)
    print("\n| learning rate | steps | val bits per byte |\n|---|---|---|")
    for point in last.values():
        print(f"| {point.lr:g} | {point.step} | {point.bits_per_byte:.4f} |")
    print(f"\nbest: {best.bits_per_byte:.4f} bits per byte after {seconds:g} s with lr={best.lr:g}")
    if xz:
        print(f"xz -9e: {xz:.4f} on the same validation text")


if __name__ == "__main__":
    run_command(five_minutes)
