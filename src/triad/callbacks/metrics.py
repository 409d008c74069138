"""Metrics of training, collected every so many steps, so that the other steps do not wait for the device.

Lightning's `self.log` costs half a millisecond a metric and step; this costs nothing on the steps between.
"""

import math
import time
from collections import Counter
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from triad.hardware.device import peak_flops
from triad.layers.ranges import NonNegativeInt

MFU = ("perf/mfu_6n", "perf/mfu_palm", "perf/mfu")  # in the order of triad.models.count.Flops


class Metrics(Callback):
    """Log loss, perplexity, bits per byte, gradient norm, rate, speed, tokens and FLOPs.

    Other callbacks may have figures to report: a method `figures(trainer)`, called in every process. Those
    with a method `show(trainer, metrics)` are given each report in the first process.

        mfu = FLOPs of the real tokens / (seconds * devices * peak FLOP/s of the run's precision)
        Chowdhery et al. 2022, arXiv:2204.02311, appendix B; FLOPs by three conventions: triad.models.count

    `perf/mfu` and `train/flops` are exact: neither padding nor keys that a mask hides are work.
    """

    observer = True  # changes no metric of the run: triad.config.identity

    def __init__(self, every_steps: NonNegativeInt) -> None:
        self.every_steps = max(1, every_steps)
        self.tokens = 0  # since the last report
        self.lengths: list[tuple[Tensor, ...]] = []  # of the rows of each step since FLOPs were counted
        self.flops = [0, 0, 0]  # since the last report, by convention
        self.exact_flops = 0  # since the run began
        self.seen = self.rows = 0  # tokens and rows since the run began
        self.seen_of: Counter[str] = Counter()  # tokens of each source of a mixture since the run began
        self.idle_s = 0.0  # spent in validation since the last report
        self.train_s = 0.0  # spent in training since the run began

    def state_dict(self) -> dict[str, Any]:
        self._count_flops()
        own = {"seen": self.seen, "rows": self.rows, "train_s": self.train_s}
        return own | {"exact_flops": self.exact_flops, "seen_of": dict(self.seen_of)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seen, self.rows, self.train_s = (state_dict[key] for key in ("seen", "rows", "train_s"))
        self.exact_flops = state_dict["exact_flops"]
        self.seen_of = Counter(state_dict.get("seen_of", {}))

    def on_train_start(self, trainer: Trainer, training: Any) -> None:
        self.count = training.count
        self.since, self.idle_s = time.perf_counter(), 0.0

    def on_train_batch_end(self, trainer: Trainer, training: Any, outputs: Any, batch: dict, *_: Any) -> None:
        self.tokens += batch["count"]
        self.seen += batch["count"]
        self.seen_of.update(batch.get("counts", {}))
        self.rows += batch["rows"]
        self.lengths.append(outputs["lengths"])
        if trainer.global_step % self.every_steps == 0 or trainer.global_step == trainer.max_steps:
            self._report(trainer, training, outputs, batch["rows"])

    def on_validation_start(self, trainer: Trainer, training: Any) -> None:
        self.paused = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, training: Any) -> None:
        self.idle_s += time.perf_counter() - self.paused
        metrics = {
            key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("val/")
        }
        self._log(trainer, metrics | _collect_figures(trainer))

    def _report(self, trainer: Trainer, training: Any, outputs: Any, batch_size: int) -> None:
        sums = trainer.strategy.all_reduce(torch.stack([*outputs["shares"].values()])).tolist()
        shares = dict(zip(outputs["shares"], sums, strict=True))
        now = time.perf_counter()
        spent_s = max(now - self.since - self.idle_s, 1e-9)
        speed = self.tokens / spent_s
        self.train_s += spent_s
        self.tokens, self.since, self.idle_s = 0, now, 0.0
        self._count_flops()
        flops, self.flops = self.flops, [0, 0, 0]
        loss = shares["train/loss"]
        metrics = {
            **shares,
            "train/perplexity": math.exp(min(loss, 700)),
            **{f"train/{name}": value for name, value in training.code_length(loss).items()},
            **{key: float(value) for key, value in outputs["figures"].items()},
            "train/tokens": self.seen,
            **{f"train/tokens/{source}": seen for source, seen in self.seen_of.items()},
            "train/flops": self.exact_flops,
            "train/rows": self.rows,
            "train/batch_size": batch_size,
            "perf/tokens_per_s": speed,
            "perf/train_s": self.train_s,
        }
        if len(outputs["load_LE"]):
            metrics |= describe_loads(trainer.strategy.all_reduce(outputs["load_LE"]))
        precision = "fp8" if training.hardware.fp8 else trainer.precision
        if peak := peak_flops(trainer.strategy.root_device, precision):
            for name, done in zip(MFU, flops, strict=True):
                metrics[name] = done / (spent_s * peak * trainer.world_size)
        self._log(trainer, metrics | _collect_figures(trainer))

    def _count_flops(self) -> None:
        """Add the FLOPs of the steps since the last call; only now are lengths read from the device."""
        if self.lengths:
            flops = self.count.flops(*(torch.cat(each) for each in zip(*self.lengths, strict=True)))
            self.flops = [before + new for before, new in zip(self.flops, flops, strict=True)]
            self.exact_flops += flops.exact
            self.lengths = []

    def _log(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.global_step)
        for callback in trainer.callbacks:
            if hasattr(callback, "show"):
                callback.show(trainer, metrics)


def _collect_figures(trainer: Trainer) -> dict[str, float]:
    """Figures of callbacks that have some to report."""
    found: dict[str, float] = {}
    for callback in trainer.callbacks:
        if hasattr(callback, "figures"):
            found |= callback.figures(trainer)
    return found


def describe_loads(load_LE: Tensor) -> dict[str, float]:
    """Load of each expert of each layer of experts, both counted from 0, over the layer's mean; the largest.

    One wait for the device, and only at a report.
    """
    share_LE = (load_LE / load_LE.mean(1, keepdim=True)).tolist()
    each = {
        f"train/load/{layer}/{expert}": share
        for layer, share_E in enumerate(share_LE)
        for expert, share in enumerate(share_E)
    }
    return {"train/load_max": max(each.values()), **each}
