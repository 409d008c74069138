"""When checkpoints are written and what they hold; triad.checkpoints has their format."""

import math
import time
import warnings
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from triad.callbacks.interruption import Agreement
from triad.checkpoints.folder import (
    checkpoint_path,
    choose_newest,
    find_fault,
    list_complete,
    read_facts,
    sweep_leftovers,
)
from triad.checkpoints.saving import LEAVING_S, Saver, State
from triad.checkpoints.tensors import find_misfit, load_tensors, read_index, read_shapes
from triad.config.errors import Unsaved
from triad.config.processes import describe_layout
from triad.layers.ranges import NonNegativeFloat, PositiveFloat, PositiveInt
from triad.runs.directory import Run
from triad.storage.manifest import Facts


class Checkpoint(Callback):
    """Save every `every_steps` steps and at the end; keep the last `keep` and the best; resume from them.

    `every_minutes` saves by the clock, too: that of the first process decides for all. A run that a signal
    ends has `grace_s` seconds to be saved, then its launcher kills it.

    The metric that `monitor` names says which is the best. A save falls due after the validation of its step,
    if there is one, and is written while training goes on. To resume, the newest whole checkpoint of the run
    directory is loaded before training. Other callbacks may have weights to keep: a method
    `weights(training)` returns them by parameter name, an attribute `checkpoint_key` is their name in a
    checkpoint. If they replace the weights in validation, the checkpoint says so. A method
    `before_save(trainer)` of theirs is called before each save.
    """

    observer = True  # changes no metric of the run: triad.config.identity

    def __init__(
        self,
        run: Run,
        config: dict,
        every_steps: PositiveInt,
        every_minutes: PositiveFloat | None,
        keep: PositiveInt,
        monitor: str,
        grace_s: NonNegativeFloat,
    ) -> None:
        if every_steps < 1 or keep < 1:
            raise ValueError(
                f"callbacks.checkpoint: every_steps={every_steps} and keep={keep} must be at least 1"
            )
        if every_minutes is not None and not 0 < every_minutes < math.inf:
            raise ValueError(
                f"callbacks.checkpoint.every_minutes={every_minutes}: above 0, or null to save by steps alone"
            )
        if not 0 < grace_s < math.inf:
            raise ValueError(f"callbacks.checkpoint.grace_s={grace_s}: a number of seconds above 0")
        self.run, self.folder, self.config = run, run.checkpoints, config
        self.every_steps, self.keep, self.monitor = every_steps, keep, monitor
        self.every_s = None if every_minutes is None else 60 * every_minutes
        self.grace_s = grace_s
        self.saved_step = self.validated_step = 0
        self.saver: Any = None  # until on_fit_start

    def on_fit_start(self, trainer: Trainer, training: Any) -> None:
        """Load the newest whole checkpoint, if there is one."""
        self.metric = {"name": self.monitor, "better": training.direction(self.monitor)}
        self.saver, self.since = Saver(self.keep), time.monotonic()
        self.agree = Agreement() if self.every_s else None
        if path := self._newest(trainer, training):
            self._load(path, trainer, training)
            if path == list_complete(self.folder)[-1]:  # and none after it that is damaged
                self.saver.rotate(self.folder)  # the run may have been killed between a save and this

    def on_train_batch_start(self, trainer: Trainer, training: Any, *_: Any) -> None:
        self._tell(trainer)
        step = trainer.global_step
        due = self._is_late(trainer) or step % self.every_steps == 0
        if due and step > self.saved_step:
            self.save(trainer, training)

    def on_validation_end(self, trainer: Trainer, training: Any) -> None:
        self.validated_step = trainer.global_step

    def on_train_end(self, trainer: Trainer, training: Any) -> None:
        if trainer.global_step > self.saved_step:
            self.save(trainer, training)
        self.saver.wait()
        last = checkpoint_path(self.folder, self.saved_step)
        lost = self.saver.all_gather(self.saver.failures.pop(last, ""))
        self._tell(trainer)
        if failure := next(filter(None, lost), ""):
            raise Unsaved(f"{failure}; make room and resume the run: the checkpoints before it stay")
        trainer.strategy.barrier()  # when it ends, the last checkpoint is there for every process

    def on_exception(self, trainer: Trainer, training: Any, exception: BaseException) -> None:
        if self.saver and isinstance(exception, SIGTERMException):
            self._save_interrupted(trainer, training)
        elif self.saver:
            self.saver.wait(LEAVING_S)

    def _save_interrupted(self, trainer: Trainer, training: Any) -> None:
        """Save what was trained, and say how to go on."""
        if trainer.validating:
            for keeper in _find_keepers(trainer):
                if keeper.replaces == "weights":
                    keeper.on_validation_end(trainer, training)  # puts back the weights that are trained
        if trainer.global_step > self.saved_step:
            self.save(trainer, training)
        self.saver.wait(self.grace_s)
        self._tell(trainer)
        if trainer.is_global_zero:
            kept = list_complete(self.folder)
            from_step = f"step {read_facts(kept[-1])['step']} is saved" if kept else "nothing is saved"
            print(f"interrupted: {from_step}; {self.run.resume_command} goes on", flush=True)

    def _is_late(self, trainer: Trainer) -> bool:
        """Whether the clock asks for a save, as the first process has it."""
        if not self.agree:
            return False
        late = trainer.is_global_zero and time.monotonic() - self.since > (self.every_s or math.inf)
        if late:
            self.since = time.monotonic()  # named once
        return bool(self.agree(int(late)))

    def save(self, trainer: Trainer, training: Any) -> None:
        """Copy what a checkpoint holds and have it written."""
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if hasattr(callback, "before_save"):
                callback.before_save(trainer)
        step, self.since = trainer.global_step, time.monotonic()
        self.saved_step = step
        strategy: Any = trainer.strategy

        def tensors() -> State:
            kept = {keeper.checkpoint_key: keeper.weights(training) for keeper in _find_keepers(trainer)}
            return strategy.tensors(training.model, trainer.optimizers[0]) | kept

        self.saver.save(checkpoint_path(self.folder, step), tensors, self._facts(trainer, step))

    def newest_before(self, step: int) -> Path | None:
        """The newest checkpoint of before a step, after a save under way."""
        self.saver.wait()
        found = [path for path in list_complete(self.folder) if path < checkpoint_path(self.folder, step)]
        return next(reversed(found), None)

    def _newest(self, trainer: Trainer, training: Any) -> Path | None:
        """The newest checkpoint that is whole and of this model: each process looks at its part of the files.

        All agree on it, or raise the same ValueError.
        """
        first, model = trainer.is_global_zero, read_shapes(training.make_meta_model())
        if first:
            sweep_leftovers(self.folder)
        found = trainer.strategy.broadcast(list_complete(self.folder) if first else [])
        part = trainer.global_rank, trainer.world_size

        def wrong(path: Path) -> str:
            said = find_fault(path, part) or find_misfit(path, model)
            return next(filter(None, self.saver.all_gather(said)), "")

        return choose_newest(found, wrong, warn=first)

    def _load(self, path: Path, trainer: Trainer, training: Any) -> None:
        strategy: Any = trainer.strategy
        optimizer, said, held = trainer.optimizers[0], read_facts(path), read_index(path)
        groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        wanted = strategy.tensors(training.model, optimizer)
        if absent := [name for name in wanted["optimizer"] if f"optimizer.{name}" not in held]:
            raise ValueError(
                f"{path} holds no {absent[0]} of the optimizer: it was written with another one;"
                " resume.weights_only=true starts a new run from its weights"
            )
        kinds = {name.partition(".")[0] for name in held}
        keepers = [keeper for keeper in _find_keepers(trainer) if keeper.checkpoint_key in kinds]
        kept = {keeper.checkpoint_key: keeper.weights(training) for keeper in keepers}
        load_tensors(path, wanted | kept)
        if hasattr(strategy, "synchronise_copies"):
            strategy.synchronise_copies(training.model, optimizer)
        for group, settings in zip(optimizer.param_groups, groups, strict=True):
            group.update(settings)  # the configuration's, which may have been changed by name
        self._restore(trainer, said)
        if trainer.is_global_zero:
            before, now = said["layout"], _describe_own_layout(self.config, trainer)
            moves = f"; saved by {describe_layout(before)}, now {describe_layout(now)}"
            moved = moves if before != now else ""
            print(f"resuming {path.parent.parent} at step {said['step']}{moved}", flush=True)

    def _facts(self, trainer: Trainer, step: int) -> Facts:
        value = trainer.callback_metrics.get(self.monitor) if step == self.validated_step else None
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        return {
            "step": step,
            "metric": None if value is None else self.metric | {"value": float(value)},
            "validated": _name_validated(trainer),
            "position": {"rows": datamodule.first_row(step)},
            "random": {"seed": self.config["seed"], "step": step},
            "layout": _describe_own_layout(self.config, trainer),
            "callbacks": {c.state_key: _to_json(c.state_dict()) for c in trainer.callbacks if c.state_dict()},
            "precision": trainer.precision_plugin.state_dict(),
            "config": self.config,
        }

    def _restore(self, trainer: Trainer, said: Facts) -> None:
        """Lightning needs three counters; the callbacks need their memory; batches follow from the step."""
        step = self.saved_step = said["step"]
        epoch = trainer.fit_loop.epoch_loop
        for progress in (epoch.batch_progress.total, epoch.manual_optimization.optim_step_progress.total):
            for field in ("ready", "started", "processed", "completed"):
                if hasattr(progress, field):
                    setattr(progress, field, step)
        epoch._batches_that_stepped = step
        if said.get("precision"):  # a loss scaler's; checkpoints of another precision have none
            trainer.precision_plugin.load_state_dict(said["precision"])
        for callback in trainer.callbacks:
            if callback.state_key in said["callbacks"]:
                restore_memory(callback, _from_json(said["callbacks"][callback.state_key]))

    def _tell(self, trainer: Trainer) -> None:
        """Warn of each save that failed."""
        while self.saver.failures:
            _, failure = self.saver.failures.popitem()
            if trainer.is_global_zero:
                warnings.warn(f"{failure}; training goes on, the checkpoints before it stay", stacklevel=2)


def restore_memory(callback: Callback, memory: dict[str, Any]) -> None:
    """Load what a callback remembers; what its configuration set stays, which may have been changed by name.

    Those are the attributes that are named like arguments of its class or of a class above: Lightning's
    EarlyStopping has its patience among the scores it remembers.
    """
    names = {name for kind in type(callback).__mro__ for name in signature(kind.__init__).parameters}
    configured = {name: value for name, value in vars(callback).items() if name in names}
    callback.load_state_dict(memory)
    vars(callback).update(configured)


def _describe_own_layout(config: dict, trainer: Trainer) -> dict[str, Any]:
    return {"strategy": config["strategy"], "processes": trainer.world_size}


def _find_keepers(trainer: Trainer) -> list[Any]:
    """Callbacks whose weights go into checkpoints."""
    return [callback for callback in trainer.callbacks if hasattr(callback, "checkpoint_key")]


def _name_validated(trainer: Trainer) -> str:
    """The name of the weights that validations measure."""
    replacing = (keeper for keeper in _find_keepers(trainer) if keeper.replaces == "weights")
    return next((keeper.checkpoint_key for keeper in replacing), "model")


def _to_json(value: Any) -> Any:
    """Callbacks' memory as JSON; tensors and infinities are marked, to become what they were."""
    if isinstance(value, dict):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    return {"tensor": _to_json(value.tolist())} if isinstance(value, torch.Tensor) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"tensor"}:
        return torch.tensor(_from_json(value["tensor"]))
    if value.keys() == {"float"}:
        return float(value["float"])
    return {key: _from_json(item) for key, item in value.items()}
