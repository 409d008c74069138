"""Checks of gradients and updates: what is not finite stops the run, unusual sizes are reported."""

import math
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.distributed.tensor import DTensor

from triad.config.errors import Diverged
from triad.layers.parameters import ROLES, plain_name
from triad.layers.ranges import PositiveFloat, PositiveInt
from triad.optim.gradient import Gradient
from triad.optim.roles import roles


class GradientCheck(Callback):
    """Stop before an update with numbers that are not finite; report each role's gradients and updates.

        train/gradient_norm_<role>    |g_r|
        train/update_<role>           |w_after - w_before| / |w_before|, often near 1e-3

    The norm of each step is known anyway: if it is not finite in any process, all of them name the first and
    last bad parameter, keep a checkpoint of before and stop. Every `every_steps` steps, and where the norm is
    above `exploding`, the first parameter from the input is named whose gradient's norm is above `exploding`,
    or above 0 and below `vanishing`; gradients of exactly 0 are not: weights that start at zero block the
    gradients of others, and an expert may get no token. In fp16 the loss scaler leaves out updates that are
    not finite, so nothing is stopped. On the other steps this costs a look at one number, on which all
    processes agree: what only one of them has in a gradient that others hold, too, stops them all.
    """

    uses = ("gradients",)
    observer = True  # changes no metric of the run: triad.config.identity

    def __init__(self, every_steps: PositiveInt, vanishing: PositiveFloat, exploding: PositiveFloat) -> None:
        if every_steps < 1 or not 0 <= vanishing < exploding:
            raise ValueError(
                f"callbacks.gradient_check: every_steps={every_steps} vanishing={vanishing}"
                f" exploding={exploding}: at least 1, and one below the other"
            )
        self.every_steps, self.vanishing, self.exploding = every_steps, vanishing, exploding
        self.before: tuple[Gradient, dict[str, Tensor]] | None = None  # of a step that is reported
        self.metrics: dict[str, float] = {}

    def on_train_start(self, trainer: Trainer, training: Any) -> None:
        self.trainer, self.training = trainer, training
        model = training.make_meta_model()
        self.roles, self.names = roles(model), list(dict(model.named_parameters()))
        self.sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
        self.scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        training.update.hooks.append(self.watch)

    def watch(self, gradient: Gradient, norm: Tensor) -> None:
        """Look at a whole gradient, not yet clipped."""
        size = _find_largest(norm)
        if not math.isfinite(size):
            if not self.scaled:
                self._stop(gradient)
            return
        due = (self.trainer.global_step + 1) % self.every_steps == 0
        if due or size > self.exploding:
            self._report(gradient)
        if due:
            self.before = gradient, {name: p.detach().clone() for name, p in gradient.parameters.items()}

    def on_train_batch_start(self, trainer: Trainer, training: Any, batch: dict, batch_idx: int) -> None:
        self.rows = batch["rows"]

    def on_train_batch_end(self, trainer: Trainer, training: Any, *_: Any) -> None:
        if self.before is not None:
            gradient, before = self.before
            self.before = None
            weights = {name: gradient.parameters[name].detach() for name in before}
            changes = {name: weights[name] - old for name, old in before.items()}
            sets = self._group_by_role(gradient)
            moved, were = gradient.norms(changes, sets).tolist(), gradient.norms(before, sets).tolist()
            for role, move, was in zip(ROLES, moved, were, strict=True):
                if was:
                    self.metrics[f"train/update_{role}"] = move / was
        if self.metrics and trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.log_metrics(self.metrics, step=trainer.global_step)
        self.metrics = {}

    def _group_by_role(self, gradient: Gradient) -> list[set[str]]:
        """The names of each role's parameters, as the model here has them."""
        return [
            {name for name in gradient.parameters if self.roles[plain_name(name)] == role} for role in ROLES
        ]

    def _report(self, gradient: Gradient) -> None:
        here = {plain_name(name): {name} for name in gradient.parameters}
        each = gradient.norms(gradient.tensors, [here.get(name, set()) for name in self.names]).tolist()
        norms = dict(zip(self.names, each, strict=True))
        for role in ROLES:
            if some := [norm for name, norm in norms.items() if self.roles[name] == role]:
                self.metrics[f"train/gradient_norm_{role}"] = math.hypot(*some)
        explodes = [(name, norm) for name, norm in norms.items() if norm > self.exploding]
        vanishes = [(name, norm) for name, norm in norms.items() if 0 < norm < self.vanishing]
        for word, bound, found in (
            ("explodes", f"above {self.exploding:g}", explodes),
            ("vanishes", f"below {self.vanishing:g}", vanishes),
        ):
            if found and self.trainer.is_global_zero:
                (name, norm), step = found[0], self.trainer.global_step + 1
                more = f"; {len(found) - 1} others" if len(found) > 1 else ""
                print(
                    f"step {step}: the gradient {word} at {name}: norm {norm:.3g}, {bound}{more}", flush=True
                )

    def _stop(self, gradient: Gradient) -> None:
        """Every process raises the same sentence."""
        bad = {name: _count_bad(tensor) for name, tensor in gradient.tensors.items()}
        found = self._max_over_ranks({plain_name(name): count for name, count in bad.items() if count})
        step = self.trainer.global_step
        start = self.trainer.datamodule.first_row(step)  # type: ignore[attr-defined]
        rows = f"rows {start} to {start + self.rows - 1}: python -m triad.data show={step}"
        raise Diverged(
            f"step {step + 1}: the gradient is not finite{self._locate(found)}; {rows}; the update was left"
            f" out and {self._save_before()} has the weights before it; try a lower optimizer.lr"
        )

    def _locate(self, found: dict[str, int]) -> str:
        """The first and last of the parameters with bad numbers, in the order of the model."""
        names = [name for name in self.names if name in found]
        if not names:
            return ": its norm overflows, though each number is finite"
        many = f" to {names[-1]}, {len(names)} of {len(self.names)} parameters" if len(names) > 1 else ""
        return f" in {names[0]} (at least {found[names[0]]} of {self.sizes[names[0]]} numbers){many}"

    def _max_over_ranks(self, here: dict[str, int]) -> dict[str, int]:
        """The largest count of any process, by name."""
        if not dist.is_initialized():
            return here
        all_counts: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(all_counts, here)
        names = {name for counts in all_counts for name in counts}
        return {name: max(counts.get(name, 0) for counts in all_counts) for name in names}

    def _save_before(self) -> str:
        """A checkpoint of before, which is written if there is none of this step."""
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if hasattr(callback, "saved_step"):
                if self.trainer.global_step > callback.saved_step:
                    callback.save(self.trainer, self.training)
                callback.saver.wait()
                return f"{callback.folder}/step-{callback.saved_step:08d}"
        return "nothing (callbacks.checkpoint is off)"


def _find_largest(norm: Tensor) -> float:
    """The largest norm of any process; inf if one is not finite."""
    largest = torch.where(norm.isfinite(), norm, torch.inf)
    if dist.is_initialized():
        dist.all_reduce(largest, dist.ReduceOp.MAX)
    return float(largest)


def _count_bad(gradient: Tensor) -> int:
    local = gradient.to_local() if isinstance(gradient, DTensor) else gradient
    return int((~local.isfinite()).sum())
