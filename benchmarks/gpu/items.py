"""What a check is made of, and training runs for them in this process.

A check is a function (bench) -> items. An item does something and returns its figures, or raises Missed
(with the figures) where they are not what they should be, or Absent where this machine lacks what it needs.
"""

import gc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from lightning.pytorch import Callback

from benchmarks.loop import fit
from triad.config.compose import compose
from triad.runs.directory import Run

TINY = ("debug=tiny", "hardware.attention=flash", "trainer.limit_val_batches=0", "scheduler=constant")
STEADY = ("scheduler.warmup=0", "optimizer.lr=1e-3", "trainer.devices=1", "trainer.log_every_n_steps=1")
COPY = ("task=copy", "data=letters", "tokenizer=char")
MASKED = ("task=masked_lm",)
FAMILIES = {
    "decoder": (),
    "gpt2": ("model=gpt2",),
    "bloom_7b1 (alibi)": ("model=bloom_7b1",),
    "mistral_7b (window, groups)": ("model=mistral_7b", "model.attention.mask.size=8"),
    "moe": ("model=moe",),
    "deepseek_v3": (
        *("model=deepseek_v3", "model.attention.heads=4", "model.pattern.leading=[dense]"),
        *("model.feedforward.experts=16", "model.feedforward.hidden=64"),
        "model.pattern.parts.dense.feedforward.hidden=64",
    ),
    "hybrid": ("model=hybrid",),
    "lstm": ("model=lstm",),
    "mlp": ("model=mlp",),
    "encoder": ("model=encoder", *MASKED),
    "encoder_moe": ("model=encoder_moe", *MASKED),
    "encoder_decoder": ("model=encoder_decoder", *COPY),
    "t5_small": ("model=t5_small", *COPY),
}


class Missed(Exception):
    """Figures that are not what they should be."""


class Absent(Exception):
    """What this machine lacks."""


class Item(NamedTuple):
    """One line of the table; `on_cpu` is whether it says something there, too."""

    name: str
    run: Callable[[], str]
    on_cpu: bool = True


class Bench(NamedTuple):
    """Where checks run: a device, and a folder for their runs. `small` tries out the program on a CPU."""

    device: torch.device
    folder: Path

    @property
    def small(self) -> bool:
        return self.device.type == "cpu"

    @property
    def accelerator(self) -> str:
        return "cpu" if self.small else "gpu"

    def train(
        self,
        name: str,
        *words: str,
        accelerator: str = "",
        parts: Iterable[str] = ("metrics",),
        callbacks: Iterable[Callback] = (),
        changes: dict | None = None,
    ) -> list[dict[str, float]]:
        """The rows of metrics.csv of a run of train.py's own `train`; `parts` are of conf/callbacks.

        `changes` of the composed configuration are not checked. A run that is there goes on.
        """
        kind = accelerator or self.accelerator
        chosen = any(word.startswith("data=") for word in words)
        text = () if chosen else ("data=text", f"data.path={self.text}")
        config = compose([*TINY, *STEADY, *text, f"trainer.accelerator={kind}", *words])
        config["callbacks"] = {part: config["callbacks"][part] for part in parts}
        config |= changes or {}
        try:
            fit(config, self.folder / name, callbacks)
        finally:
            self.forget()
        return self.read(name)

    def train_once(self, name: str, *words: str, accelerator: str = "") -> list[dict[str, float]]:
        """The rows of a run that several items compare theirs with."""
        return self.read(name) or self.train(name, *words, accelerator=accelerator)

    def read(self, name: str) -> list[dict[str, float]]:
        return [row for row in Run(self.folder / name).metrics() if "train/loss" in row]

    @property
    def low(self) -> str:
        """The precision that the device is fast in; on a CPU bf16 may be slow."""
        return "precision=fp32" if self.small else "precision=bf16-mixed"

    @property
    def text(self) -> Path:
        path = self.folder / "text.txt"
        if not path.exists():
            path.write_text("".join(f"{n} squared is {n * n}; its half is {n // 2}.\n" for n in range(3000)))
        return path

    def forget(self) -> None:
        """Leave nothing of a run behind."""
        if dist.is_initialized():
            dist.destroy_process_group()
        torch.use_deterministic_algorithms(False)  # trainer.deterministic is the process's
        torch.compiler.reset()
        gc.collect()
        if not self.small:
            torch.cuda.empty_cache()


def largest_difference(rows: list[dict], others: list[dict], key: str) -> float:
    """Of a metric at every step, relative to the second. Missed if the steps are not the same."""
    if [row["step"] for row in rows] != [row["step"] for row in others]:
        raise Missed(f"{len(rows)} steps against {len(others)}")
    pairs = [(row[key], other[key]) for row, other in zip(rows, others, strict=True)]
    return max(abs(a - b) / max(abs(b), 1e-12) for a, b in pairs)


def hold(said: str, *conditions: bool) -> str:
    """The figures if all holds; Missed with them if not."""
    if not all(conditions):
        raise Missed(said)
    return said


def relative_error(found: Any, truth: Any) -> float:
    """|found - truth| / |truth|, over all numbers."""
    truth = truth.double().cpu()
    return float((found.double().cpu() - truth).norm() / truth.norm())
