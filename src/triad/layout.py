"""How many processes a run has, decided before torch is imported."""

import os
from pathlib import Path


def resolve_devices(config: dict) -> None:
    """Replace `auto` in the trainer's accelerator, devices and nodes by what this machine or launcher has."""
    trainer = config["trainer"]
    if trainer["accelerator"] == "auto":
        trainer["accelerator"] = "gpu" if gpus() else "cpu"
    if "LOCAL_WORLD_SIZE" in os.environ and "WORLD_SIZE" in os.environ:  # torchrun
        trainer["devices"] = int(os.environ["LOCAL_WORLD_SIZE"])
        trainer["num_nodes"] = int(os.environ["WORLD_SIZE"]) // trainer["devices"]
    elif int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:  # srun, not merely a job's allocation
        trainer["num_nodes"] = int(os.environ.get("SLURM_STEP_NUM_NODES", "1"))
        trainer["devices"] = int(os.environ["SLURM_STEP_NUM_TASKS"]) // trainer["num_nodes"]
    if trainer["devices"] in ("auto", -1, "-1"):  # -1 is Lightning's word for all
        alone = config["strategy"]["_target_"].endswith(".Single") or trainer["accelerator"] != "gpu"
        trainer["devices"] = 1 if alone else gpus()


def ranks_here(config: dict) -> int:
    """Processes of this run on this machine."""
    return int(config["trainer"]["devices"])


def world_size(config: dict) -> int:
    """Processes of this run on all machines."""
    return ranks_here(config) * config["trainer"]["num_nodes"]


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> int:
    """NVIDIA devices that CUDA_VISIBLE_DEVICES leaves to us, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len([path for path in Path("/dev").glob("nvidia[0-9]*") if path.name[6:].isdigit()])
