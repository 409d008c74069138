"""Ending a run that has diverged."""

import math
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from triad.config.errors import Diverged
from triad.layers.ranges import NonNegativeInt

NEVER = torch.iinfo(torch.int64).max
LEAST_SCALE = 1e-4  # of the loss in fp16, fairseq's min_loss_scale: 30 steps in a row that were left out


class TerminateOnNan(Callback):
    """End the run in all processes when a loss or a gradient's norm is not finite; the exit code is 33.

    The step's figures stay on the device and are looked at every `every_steps` steps, when the metrics are
    waited for anyway, and before each checkpoint and validation: no checkpoint is written after a step that
    was not finite. In fp16 the loss scaler leaves out such a step, and only a scale below LEAST_SCALE, after
    which no step would be finite, ends the run. So does a validation loss that is not finite. Raises
    Diverged, which names the first bad step and the last checkpoint whose weights had a finite gradient.
    """

    observer = True  # changes no metric of the run: triad.config.identity

    def __init__(self, every_steps: NonNegativeInt) -> None:
        self.every_steps = max(1, every_steps)
        self.steps: list[int] = []  # that have not been looked at, counted from 1
        self.values: list[Tensor] = []  # their norms and losses

    def on_train_batch_end(self, trainer: Trainer, training: Any, outputs: Any, *_: Any) -> None:
        norm, loss = outputs["figures"]["train/gradient_norm"], outputs["shares"]["train/loss"]
        self.steps.append(trainer.global_step)
        self.values += [norm, loss]
        if trainer.global_step % self.every_steps == 0 or trainer.global_step >= trainer.max_steps > 0:
            self._check_steps(trainer)

    def before_save(self, trainer: Trainer) -> None:
        """Called by the checkpoint callback."""
        self._check_steps(trainer)

    def on_validation_start(self, trainer: Trainer, training: Any) -> None:
        self._check_steps(trainer)

    def on_validation_end(self, trainer: Trainer, training: Any) -> None:
        loss = float(trainer.callback_metrics.get("val/loss", 0.0))
        if not math.isfinite(loss):
            self._end(trainer, trainer.global_step, f"the validation loss is {loss}")

    def _check_steps(self, trainer: Trainer) -> None:
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is not None:
            if (scale := scaler.get_scale()) < LEAST_SCALE:
                self._end(trainer, trainer.global_step, f"the loss scale fell to {scale:.1g}")
        elif self.steps and (bad := self._find_first_bad()) < NEVER:
            self._end(trainer, bad, "the gradient is not finite")
        self.steps, self.values = [], []

    def _find_first_bad(self) -> int:
        """The first step that is not finite in any process, or NEVER."""
        finite = torch.stack([value.float().isfinite() for value in self.values]).view(-1, 2).all(1)
        first = torch.tensor(self.steps, device=finite.device).where(~finite, NEVER).min()
        if dist.is_initialized():
            dist.all_reduce(first, dist.ReduceOp.MIN)
        return int(first)

    def _end(self, trainer: Trainer, step: int, why: str) -> None:
        """Every process raises the same sentence."""
        good = trainer.strategy.broadcast(_find_good(trainer, step))
        kept = f"weights={good} starts from the last good checkpoint" if good else "no checkpoint is good"
        raise Diverged(f"step {step}: {why}, training has diverged; {kept}; try a lower optimizer.lr")


def _find_good(trainer: Trainer, step: int) -> Path | None:
    """The newest checkpoint whose weights had a finite gradient: that of step - 1 gave the bad one."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if hasattr(callback, "newest_before"):
            return callback.newest_before(step - 1)
    return None
