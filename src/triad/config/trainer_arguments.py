"""The arguments of Lightning's Trainer: what passes on to it, and what to write in the place of the rest.

Training has its own loop over micro-batches, its own batches, checkpoints and log, so that many of these
arguments would have no effect, or one that no other part knows of. A test holds the table against the
installed Trainer.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

ENVIRONMENT = "PL_TRAINER_"  # Lightning takes further arguments from variables with this prefix


class Argument(NamedTuple):
    """The values of one argument that pass on, and what to write in the place of others."""

    passes: Callable[[Any], bool]
    otherwise: str


def find_trainer_faults(trainer: dict) -> Iterator[str]:
    """Yield one sentence for each argument that would not do what it says; make whole numbers of 1e3."""
    for name, value in trainer.items():
        if isinstance(value, float) and value > 1 and value.is_integer():
            value = trainer[name] = int(value)
        argument = ARGUMENTS.get(name)
        if argument and not argument.passes(value):
            yield f"trainer.{name}={_spell(value)}: {argument.otherwise}"
    for name in sorted(os.environ):
        if name.startswith(ENVIRONMENT):
            key = f"trainer.{name.removeprefix(ENVIRONMENT).lower()}"
            yield f"{name} is set in the environment, which no run records: unset it, and say {key}=..."


def _spell(value: Any) -> str:
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))


def _only(*allowed: Any) -> Callable[[Any], bool]:
    """Values of these types: 1 is not true."""
    return lambda value: any(type(value) is type(one) and value == one for one in allowed)


def _whole(least: int, *others: Any) -> Callable[[Any], bool]:
    """Whole numbers from `least` on; 1.0 is none, as it means all to Lightning."""
    return lambda value: (type(value) is int and value >= least) or _only(*others)(value)


def _any(value: Any) -> bool:
    return True


FLAG = _only(True, False)
OURS = _only(None)  # train.py passes it
LENGTH = "use epochs=..., or trainer.max_steps, in steps or as a time such as 5min"
BATCHES = "a whole number of batches, at least"
EARLY = "use callbacks=[default,early_stopping] callbacks.early_stopping.patience=..."
ORDER = "batch k follows from seed and step alone, and every process reads its share of it: leave it out"
UNUSED = "nothing but training and validation is run: leave it out"

ARGUMENTS = {
    # other groups and keys say these
    "strategy": Argument(OURS, "use strategy=ddp, fsdp or another choice"),
    "precision": Argument(OURS, "use precision=bf16-mixed, fp16-mixed, fp32 or another choice"),
    "logger": Argument(OURS, "use logger=csv, wandb, tensorboard or many"),
    "callbacks": Argument(OURS, "use callbacks=[default,...], or +callbacks.mine={_target_:...}"),
    "plugins": Argument(OURS, "use precision=..., strategy=... and hardware.*"),
    "default_root_dir": Argument(OURS, "use output_dir=... and run_id=..."),
    "enable_checkpointing": Argument(_only(None, False), "use callbacks.checkpoint.every_steps and .keep"),
    "gradient_clip_val": Argument(OURS, "use clip=norm clip.largest=..."),
    "gradient_clip_algorithm": Argument(OURS, "use clip=norm, value or role, and clip.largest=..."),
    "accumulate_grad_batches": Argument(
        _only(1), "a step is batch.size rows; hardware.micro_batch_size=... divides them"
    ),
    "max_epochs": Argument(_only(None, -1), LENGTH),
    "min_epochs": Argument(OURS, LENGTH),
    "min_steps": Argument(OURS, EARLY),
    "max_time": Argument(OURS, LENGTH),
    "limit_train_batches": Argument(OURS, LENGTH),
    "check_val_every_n_epoch": Argument(OURS, "use trainer.val_check_interval=..., in steps"),
    "fast_dev_run": Argument(_only(False, 0), "use debug=tiny"),
    "num_sanity_val_steps": Argument(_only(0), "use debug=tiny, which validates after 5 steps"),
    "barebones": Argument(_only(False), "use callbacks=[] logger=[]"),
    "profiler": Argument(OURS, "its table goes to a log that is off: use py-spy, or what is logged as perf/"),
    "model_registry": Argument(OURS, "use logger.wandb.artifacts=true"),
    "enable_autolog_hparams": Argument(_only(True), "every logger gets the configuration: use logger=..."),
    # nothing of a run answers to these
    "sync_batchnorm": Argument(
        _only(False), "statistics of a batch differ between layouts: use model.norm of triad.layers.norm"
    ),
    "reload_dataloaders_every_n_epochs": Argument(_only(0), ORDER),
    "use_distributed_sampler": Argument(_only(False), ORDER),
    "limit_test_batches": Argument(OURS, UNUSED),
    "limit_predict_batches": Argument(OURS, UNUSED),
    # these pass on; triad.config.refusals has the rest of the first three
    "accelerator": Argument(_any, "auto, cpu or gpu"),
    "devices": Argument(_any, "a number of processes on each machine, or auto"),
    "max_steps": Argument(_any, "a whole number of steps, at least 1, or a time such as 5min"),
    "num_nodes": Argument(_whole(1), "a number of machines, at least 1"),
    "val_check_interval": Argument(_whole(1), "a whole number of steps, at least 1"),
    "limit_val_batches": Argument(_whole(0, None), f"{BATCHES} 0, or null for all"),
    "overfit_batches": Argument(_whole(0, 0.0), f"{BATCHES} 0"),
    "log_every_n_steps": Argument(_whole(1), "a whole number of steps, at least 1"),
    "enable_progress_bar": Argument(FLAG, "true or false"),
    "enable_model_summary": Argument(FLAG, "true or false"),
    "deterministic": Argument(_only(True, False, "warn", None), "true, false or warn"),
    "benchmark": Argument(_only(True, False, None), "true, false or null"),
    "inference_mode": Argument(FLAG, "true or false"),
    "detect_anomaly": Argument(FLAG, "true or false"),
}
