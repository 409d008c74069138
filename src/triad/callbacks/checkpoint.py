"""Checkpoints: one portable format, written atomically, verified before it is loaded.

    checkpoints/step-00000500/
        __0_0.distcp ...   tensors, sharded, under single-device names (torch.distributed.checkpoint)
        .metadata          which file holds what
        manifest.json      step, metric, callbacks' memory, and a checksum of every file; written last

A directory is a checkpoint exactly when its manifest is there: it is written beside, flushed and then
renamed.
"""

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from lightning.pytorch import Callback, Trainer
from torch import nn
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict

from triad.data.cache import checksum, sync
from triad.run import write
from triad.strategies.portable import OPTIONS


class Checkpoint(Callback):
    """Save every `every_steps` steps and at the end; keep the last `keep` and the best; resume from them.

    A save falls due after the validation of its step, if there is one. When the run directory holds
    checkpoints, the newest whole one is loaded before training: that is all that resuming is.
    """

    def __init__(self, run: Path, every_steps: int, keep: int, monitor: str) -> None:
        if every_steps < 1 or keep < 1:
            raise ValueError(
                f"callbacks.checkpoint: every_steps={every_steps} and keep={keep} must be at least 1"
            )
        self.folder = run / "checkpoints"
        self.every_steps, self.keep, self.monitor = every_steps, keep, monitor
        self.saved_step = 0

    def on_fit_start(self, trainer: Trainer, task: Any) -> None:
        """Load the newest whole checkpoint, if there is one."""
        path = trainer.strategy.broadcast(newest(self.folder) if trainer.is_global_zero else None)
        if path is None:
            return
        strategy: Any = trainer.strategy
        optimizer = trainer.optimizers[0]
        groups = optimizer.param_groups
        asked = [{key: value for key, value in group.items() if key != "params"} for group in groups]
        tensors = strategy.tensors(task.model, optimizer)
        load(path, tensors)
        strategy.restore(task.model, optimizer, tensors)
        for group, settings in zip(optimizer.param_groups, asked, strict=True):
            group.update(settings)  # the configuration's, which may have been changed by name
        manifest = json.loads((path / "manifest.json").read_text())
        self._restore(trainer, manifest)
        if trainer.is_global_zero:
            print(f"resuming {path.parent.parent} at step {manifest['step']}", flush=True)

    def on_train_batch_start(self, trainer: Trainer, task: Any, *_: Any) -> None:
        step = trainer.global_step
        if step % self.every_steps == 0 and step > self.saved_step:
            self.save(trainer, task)

    def on_train_end(self, trainer: Trainer, task: Any) -> None:
        if trainer.global_step > self.saved_step:
            self.save(trainer, task)

    def save(self, trainer: Trainer, task: Any) -> None:
        """Write beside, flush, rename, and only then forget older ones."""
        step = self.saved_step = trainer.global_step
        path = self.folder / f"step-{step:08d}"
        beside = path.with_suffix(".tmp")
        if trainer.is_global_zero:
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
        trainer.strategy.barrier()
        strategy: Any = trainer.strategy
        tensors = strategy.tensors(task.model, trainer.optimizers[0])
        dcp.save(tensors, checkpoint_id=str(beside), no_dist=not dist.is_initialized())
        if trainer.is_global_zero:
            write(beside / "manifest.json", self._manifest(trainer, beside, step))
            for file in beside.iterdir():
                sync(file)
            shutil.rmtree(path, ignore_errors=True)
            os.replace(beside, path)
            sync(self.folder)
            self._rotate()
        trainer.strategy.barrier()

    def _manifest(self, trainer: Trainer, folder: Path, step: int) -> dict:
        metric = trainer.callback_metrics.get(self.monitor)
        memory = {c.state_key: _plain(c.state_dict()) for c in trainer.callbacks if c.state_dict()}
        return {
            "step": step,
            "metric": None if metric is None else float(metric),
            "callbacks": memory,
            "files": {file.name: checksum(file) for file in sorted(folder.iterdir())},
        }

    def _restore(self, trainer: Trainer, manifest: dict) -> None:
        """Lightning needs three counters; the callbacks need their memory; batches follow from the step."""
        step = self.saved_step = manifest["step"]
        epoch = trainer.fit_loop.epoch_loop
        for progress in (epoch.batch_progress.total, epoch.manual_optimization.optim_step_progress.total):
            for field in ("ready", "started", "processed", "completed"):
                if hasattr(progress, field):
                    setattr(progress, field, step)
        epoch._batches_that_stepped = step
        for callback in trainer.callbacks:
            if callback.state_key in manifest["callbacks"]:
                callback.load_state_dict(_tensored(manifest["callbacks"][callback.state_key]))

    def _rotate(self) -> None:
        whole = complete(self.folder)
        metrics = {path: metric for path in whole if (metric := _metric(path)) is not None}
        best = min(metrics, key=metrics.__getitem__, default=None)
        for path in whole[: -self.keep]:
            if path != best:
                shutil.rmtree(path)


def _metric(path: Path) -> float | None:
    try:
        return json.loads((path / "manifest.json").read_text())["metric"]
    except (ValueError, KeyError):  # torn: it cannot be the best
        return None


def complete(folder: Path) -> list[Path]:
    """Checkpoints that have a manifest, oldest first."""
    return sorted(
        path for path in folder.glob("step-*") if not path.suffix and (path / "manifest.json").is_file()
    )


def newest(folder: Path) -> Path | None:
    """The newest checkpoint whose files are what its manifest says; torn ones are passed over with a warning.

    Raises ValueError when there are checkpoints and none is whole.
    """
    found = complete(folder)
    for path in reversed(found):
        if fault := damage(path):
            warnings.warn(f"{path}: {fault}; trying the checkpoint before it", stacklevel=2)
        else:
            return path
    if found:
        raise ValueError(f"{folder}: no checkpoint there is whole; remove the folder to start again")
    return None


def find(folder: Path, step: int | None) -> Path:
    """The newest whole checkpoint, or the one of a step. Raises FileNotFoundError if it is not there."""
    path = newest(folder) if step is None else folder / f"step-{step:08d}"
    if path is None or path not in complete(folder):
        raise FileNotFoundError(
            f"{folder}: no checkpoint {'' if step is None else f'of step {step} '}is there"
        )
    return path


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        files = json.loads((path / "manifest.json").read_text())["files"]
    except (ValueError, KeyError):
        return "its manifest cannot be read"
    for name, expected in files.items():
        if not (path / name).is_file():
            return f"{name} is missing"
        if checksum(path / name) != expected:
            return f"{name} is not what was written (checksum)"
    return None


def load(path: Path, tensors: dict[str, Any]) -> None:
    """Fill tensors in place, whatever layout wrote the checkpoint. Raises ValueError for another model's."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*torch.distributed is disabled.*")  # one process, as asked
            dcp.load(tensors, checkpoint_id=str(path), no_dist=not dist.is_initialized())
    except BaseException as error:  # torch's CheckpointException is not an Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise ValueError(f"{path} does not fit this model: {str(error).splitlines()[-1].strip()}") from error


def load_model(path: Path, model: nn.Module) -> None:
    """Fill a single-device model from a checkpoint."""
    tensors = {"model": get_model_state_dict(model, options=OPTIONS)}
    load(path, tensors)
    set_model_state_dict(model, tensors["model"], options=OPTIONS)


def weights(path: Path) -> dict[str, torch.Tensor]:
    """Room for the weights that a checkpoint holds, in fp32, by name."""
    held = dcp.FileSystemReader(path).read_metadata().state_dict_metadata
    return {
        name.removeprefix("model."): torch.empty(entry.size)
        for name, entry in held.items()
        if name.startswith("model.") and isinstance(entry, TensorStorageMetadata)
    }


def _plain(value: Any) -> Any:
    """Callbacks' memory as JSON; tensors are marked, to become tensors again."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {"tensor": value.tolist()} if isinstance(value, torch.Tensor) else value


def _tensored(value: Any) -> Any:
    if isinstance(value, list):
        return [_tensored(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"tensor"}:
        return torch.tensor(value["tensor"])
    return {key: _tensored(item) for key, item in value.items()}
