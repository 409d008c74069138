"""Decoding against transformers' generate with the same weights.

    python benchmarks/decoding.py [models=gpt2,t5] [batches=1,16] [rounds=5] [depth=6] [width=256] [heads=4]
                                  [context=256] [vocab_size=4096] [tokens=64] [prompt=32] [threads=null]

In one process the two take turns on the same prompts, which differ in length, with a cache, greedily and with
five beams; the tokens must be equal. No text ends before `tokens`, so that both do the same work.
"""

import sys
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.loop import settle_threads, spread
from benchmarks.transformers_models import Sizes, gpt2, t5
from triad.config.command_line import run_command
from triad.decoding.beam import Beam
from triad.decoding.decode import decode
from triad.decoding.greedy import Greedy
from triad.hardware.device import describe
from triad.launch.rank import quieten

PAIRS = {"gpt2": gpt2, "t5": t5}
BEAMS = 5
HEAD = "| model | batch | decoding | tokens/s, ours | theirs | speed, ratio |\n|---|---|---|---|---|---|"


@torch.no_grad()
def decoding(
    models: str = "gpt2,t5",
    batches: str = "1,16",
    rounds: int = 5,
    depth: int = 6,
    width: int = 256,
    heads: int = 4,
    context: int = 256,
    vocab_size: int = 4096,
    tokens: int = 64,
    prompt: int = 32,
    threads: int | None = None,
) -> None:
    """Compare tokens a second of greedy decoding and of beam search."""
    quieten()
    settle_threads(threads)
    sizes = Sizes(depth, width, heads, context, vocab_size, spread=3.0)
    print(f"{describe(torch.device('cpu'))}, torch {torch.__version__}; fp32, {sizes}; {rounds} rounds of")
    print(f"{tokens} tokens; median (least..most); a ratio above 1 is for ours\n\n{HEAD}", flush=True)
    for name in models.split(","):
        theirs, ours = PAIRS[name](sizes)
        for batch in map(int, batches.split(",")):
            prompts = draw_prompts(batch, prompt, vocab_size)
            for way, beams in (("greedy", 1), (f"beam {BEAMS}", BEAMS)):
                mine = partial(decode_ours, ours, prompts, beams, tokens, context)
                other = partial(generate_theirs, theirs, prompts, beams, tokens)
                print(
                    f"| {name} | {batch} | {way} {compare(mine, other, batch * tokens, rounds)}", flush=True
                )
    print("\nSame tokens from both.")


def draw_prompts(batch: int, longest: int, vocab_size: int) -> list[list[int]]:
    """Prompts of different lengths, the first of them the longest."""
    drawn = torch.Generator().manual_seed(1)
    lengths = [longest, *torch.randint(1, longest + 1, (batch - 1,), generator=drawn).tolist()]
    return [torch.randint(1, vocab_size, (length,), generator=drawn).tolist() for length in lengths]


def decode_ours(model: Any, prompts: list, beams: int, tokens: int, context: int) -> list[list[int]]:
    """The new tokens of each prompt; an encoder-decoder reads it as its source."""
    way: Any = (
        Greedy() if beams == 1 else Beam(beams, 1.0, "power", early_stopping=False, repetition_penalty=1.0)
    )
    asked: Any = {"ends": (), "max_tokens": tokens, "context": context, "vocab_size": None}
    if model.sees == "source":
        asked["sources"], prompts = prompts, [[0]] * len(prompts)
    return [best[0].tokens for best in decode(model, prompts, way, **asked)]


def generate_theirs(model: Any, prompts: list, beams: int, tokens: int) -> list[list[int]]:
    """The same by transformers, whose decoders want padding at the left and encoders at the right."""
    encodes, width = model.config.is_encoder_decoder, max(map(len, prompts))
    padding = [[0] * (width - len(row)) for row in prompts]
    pairs = [*zip(prompts, padding, strict=True)]
    ids = torch.tensor([[*row, *pad] if encodes else [*pad, *row] for row, pad in pairs])
    ones = [[*[1] * len(row), *pad] if encodes else [*pad, *[1] * len(row)] for row, pad in pairs]
    words = {"max_new_tokens": tokens, "do_sample": False, "num_beams": beams, "use_cache": True}
    found = model.generate(ids, attention_mask=torch.tensor(ones), **words)
    return found[:, 1 if encodes else width :].tolist()


def compare(ours: Any, theirs: Any, tokens: int, rounds: int) -> str:
    """Speeds and their ratio; the first round warms up."""
    speeds = []
    for _ in range(rounds + 1):
        since = time.perf_counter()
        mine = ours()
        half = time.perf_counter()
        other = theirs()
        end = time.perf_counter()
        assert mine == other, f"{mine} against {other}"
        speeds.append((tokens / (half - since), tokens / (end - half)))
    ratio = spread([a / b for a, b in speeds[1:]], 2)
    mine_per_s, theirs_per_s = (median(column) for column in zip(*speeds[1:], strict=True))
    return f"| {mine_per_s:,.0f} | {theirs_per_s:,.0f} | {ratio} |"


if __name__ == "__main__":
    run_command(decoding)
