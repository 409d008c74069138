"""What train.py costs on one GPU: single and fsdp against a bare loop, the GPU half of strategies.py.

Each contestant in turn builds its model anew, warms up (which compiles it) and trains; then it is forgotten,
so that the peak memory of each is its own. All see the same batches from the same initial weights and must
arrive at the same losses. Times are taken when the GPU has finished.

    mfu = tokens/s * FLOPs per token / peak FLOP/s      Chowdhery et al. 2022, arXiv:2204.02311; of what the
                                                        mask shows, as perf/mfu
"""

import gc
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.loop import NEVER, bare_function, fit, spread
from triad.config.build import build
from triad.config.compose import compose
from triad.data.batches import TrainBatches
from triad.data.packing import pack
from triad.data.token_files import prepare_tokens
from triad.hardware.device import compute_dtype, describe, peak_flops
from triad.launch.rank import quieten
from triad.layers.cross_entropy import cross_entropy_sum
from triad.models.count import count
from triad.optim.initialise import initialise
from triad.optim.roles import decay_groups
from triad.storage.cache import cache_home

COMMON = (
    *("precision=bf16-mixed", "hardware.compile=true", "hardware.attention=flash", "trainer.devices=1"),
    *("scheduler=constant", "optimizer=adamw", "optimizer.lr=3e-4"),
    *("trainer.limit_val_batches=0", f"trainer.val_check_interval={NEVER}"),
)
TOKENS = ("data=stdlib", "tokenizer=bpe", "tokenizer.vocab_size=50304")  # GPT-2's 50,257, rounded up to 64
MODELS = {
    "GPT-2 124M": ("model=gpt2", *TOKENS, "context=1024", "batch.size=32", "hardware.micro_batch_size=16"),
    "decoder 1B": (
        *("model=decoder", *TOKENS, "model.width=2048", "model.depth=16", "model.attention.heads=16"),
        *("context=2048", "batch.size=8", "hardware.micro_batch_size=4"),
    ),
}
BARE = "bare loop"
CONTESTANTS = {BARE: "strategy=single", "single": "strategy=single", "fsdp": "strategy=fsdp"}
AGREEMENT = 1e-2  # of losses, relative: bf16
AIM = 0.98


class Turn(NamedTuple):
    """What one contestant did in one round."""

    step_s: float
    peak_bytes: int
    losses: list[Tensor]


class Clock(Callback):
    """Time the steps of a Trainer behind those that warm up, and keep every loss.

    From the start of a step to the start of the step after the last, so that as many batches are fetched as
    there are steps.
    """

    def __init__(self, device: torch.device, warm_up: int, steps: int) -> None:
        self.device, self.ends = device, (warm_up, warm_up + steps)
        self.times_s: list[float] = []
        self.losses: list[Tensor] = []

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step in self.ends:
            self.times_s.append(now(self.device))

    def on_train_batch_end(self, trainer: Trainer, task: Any, outputs: Any, *_: Any) -> None:
        self.losses.append(outputs["shares"]["train/loss"])


class Bare:
    """Forward, backward, clip, fused AdamW, and the next batch: what one writes by hand."""

    def __init__(self, config: dict, device: torch.device) -> None:
        names = ("model", "data", "tokenizer", "optimizer", "hardware", "batch")
        part = SimpleNamespace(**build({name: config[name] for name in names}))
        tokenizer = part.tokenizer(source=part.data, cache=cache_home())
        self.device, self.hardware, self.clip_norm = device, part.hardware, config["clip"]["largest"]
        with torch.device("meta"):
            self.model: nn.Module = part.model(vocab_size=tokenizer.vocab_size)
        self.hardware.tune(self.model)
        self.model.to_empty(device=device)
        initialise(self.model, config["seed"])
        decay = part.optimizer.keywords["weight_decay"]
        self.optimizer = part.optimizer(decay_groups(self.model, decay))
        first_row = bare_function(part.batch)
        tokens = prepare_tokens(part.data, tokenizer, cache_home()).train
        rows = TrainBatches(
            pack(tokens, config["context"], config["packing"]),
            lambda step: first_row(step + 1) - first_row(step),
            first_row,
            config["seed"],
            start=0,
            rank=0,
            ranks=1,
        )
        self.batches = iter(DataLoader(rows, batch_size=None))

    def step(self) -> Tensor:
        """One update; the loss before it."""
        batch = next(self.batches)
        tokens_BT = batch["tokens_BT"].to(self.device, non_blocking=True)
        targets_BT = batch["targets_BT"].to(self.device, non_blocking=True)
        rows, total = self.hardware.rows(tokens_BT), torch.zeros((), device=self.device)
        for x_BT, y_BT in zip(tokens_BT.split(rows), targets_BT.split(rows), strict=True):
            with torch.autocast(self.device.type, compute_dtype("bf16-mixed")):
                nll, _ = self.model(x_BT, loss=partial(cross_entropy_sum, targets_BT=y_BT))
            loss = nll / batch["count"]
            loss.backward()
            total += loss.detach()
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total


def now(device: torch.device) -> float:
    """The time when everything asked of a device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def bare_turn(config: dict, _: Path, device: torch.device, steps: int, warm_up: int) -> Turn:
    """Train by hand."""
    bare = Bare(config, device)
    losses = [bare.step() for _ in range(warm_up)]
    since = now(device)
    losses += [bare.step() for _ in range(steps)]
    return Turn((now(device) - since) / steps, peak_bytes(device), losses)


def our_turn(config: dict, run: Path, device: torch.device, steps: int, warm_up: int) -> Turn:
    """Train by train.py."""
    clock = Clock(device, warm_up, steps)
    fit(config, run, [clock])
    if dist.is_initialized():
        dist.destroy_process_group()
    since, until = clock.times_s
    return Turn((until - since) / steps, peak_bytes(device), clock.losses[: warm_up + steps])


def peak_bytes(device: torch.device) -> int:
    """The most memory that tensors have taken since `forget`."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def forget(device: torch.device) -> None:
    """Leave nothing of the contestant before: neither its memory nor what was compiled for it."""
    torch.compiler.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def compare(overrides: list[str], device: torch.device, rounds: int, steps: int, warm_up: int) -> None:
    """Print a table for each model. `device` is of this process; the CPU serves to try this file out."""
    quieten()
    print(f"{describe(device)}, torch {torch.__version__}; {rounds} rounds of {steps} steps\n")
    for name, words in MODELS.items():
        with TemporaryDirectory() as folder:
            config: dict = {}
            turns: dict[str, list[Turn]] = {who: [] for who in CONTESTANTS}
            for number in range(rounds):
                for who, strategy in CONTESTANTS.items():
                    config = _config((*words, strategy, *overrides), device, warm_up + steps + 1)
                    forget(device)
                    train: Callable[..., Turn] = bare_turn if who == BARE else our_turn
                    turns[who].append(train(config, Path(folder, f"{number}-{who}"), device, steps, warm_up))
        assert_same_work(turns)
        print(f"### {name}\n\n{table(turns, config, device)}")


def _config(words: tuple[str, ...], device: torch.device, last: int) -> dict:
    kind = "gpu" if device.type == "cuda" else "cpu"
    config = compose([*COMMON, *words, f"trainer.accelerator={kind}", f"trainer.max_steps={last}"])
    config["callbacks"] = {"metrics": config["callbacks"]["metrics"]}
    config["logger"] = {"csv": config["logger"]["csv"]}
    return config


def assert_same_work(turns: dict[str, list[Turn]]) -> None:
    """The same losses at every step, as far as bf16 goes."""
    expected = torch.stack(turns[BARE][0].losses)
    for found in turns.values():
        for turn in found:
            torch.testing.assert_close(torch.stack(turn.losses), expected, rtol=AGREEMENT, atol=0)


def table(turns: dict[str, list[Turn]], config: dict, device: torch.device) -> str:
    """Speed, share of the peak, memory, and the ratio of speeds in the same round."""
    tokens = config["context"] * build(config["batch"])(1)
    part = build({name: config[name] for name in ("model", "tokenizer", "data")})
    with torch.device("meta"):
        vocab_size = part["tokenizer"](source=part["data"], cache=cache_home()).vocab_size
        counted = count(part["model"](vocab_size=vocab_size))
    flops = counted.flops(torch.tensor([config["context"]])).exact / config["context"]
    lines = [
        f"| contestant | tokens/s, median (least..most) | MFU | peak GiB | ratio to bare (aim {AIM}) |",
        "|---|---|---|---|---|",
    ]
    for who, found in turns.items():
        speeds, peak = [tokens / turn.step_s for turn in found], peak_flops(device, "bf16-mixed")
        mfu = f"{median(speeds) * flops / peak:.1%}" if peak else ""
        ratios = [bare.step_s / turn.step_s for bare, turn in zip(turns[BARE], found, strict=True)]
        memory = max(turn.peak_bytes for turn in found) / 2**30
        lines.append(f"| {who} | {spread(speeds, 0)} | {mfu} | {memory:.1f} | {spread(ratios, 3)} |")
    return "\n".join(lines) + "\n"
