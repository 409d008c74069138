"""Weights & Biases without an account: offline unless someone is logged in."""

import importlib.util
import os
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.loggers import Logger


def wandb(
    run: Path,
    config: dict,
    tags: list[str],
    project: str,
    mode: Literal["auto", "online", "offline"],
    group: str | None,
) -> Logger | None:
    """One W&B run for one run id, resumed and not duplicated; offline when nobody is logged in.

    Without the wandb package the run goes on with metrics.csv alone, and says so.
    """
    if importlib.util.find_spec("wandb") is None:
        print("wandb is not installed: figures go to metrics.csv only (pip install wandb, or logger=csv)")
        return None
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else one DNS request even offline
    import wandb as library
    from lightning.pytorch.loggers import WandbLogger

    chosen: Any = mode
    if mode == "auto":
        asked: Any = os.environ.get("WANDB_MODE")
        chosen = asked or ("online" if library.login(prompt=False) else "offline")
    offline = chosen != "online"
    quiet = library.Settings(mode=chosen, silent=True, console="off", x_disable_stats=offline, symlink=False)
    return WandbLogger(
        project=project,
        save_dir=str(run),
        offline=offline,
        id=run.name,
        name=run.name,
        group=group,
        tags=tags,
        config=config,
        resume="allow",
        log_model=False,
        settings=quiet,
    )
