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
    elif int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        trainer["num_nodes"] = int(os.environ.get("SLURM_NNODES", "1"))
        trainer["devices"] = int(os.environ["SLURM_NTASKS"]) // trainer["num_nodes"]
    if trainer["devices"] == "auto":
        alone = config["strategy"]["_target_"].endswith(".Single") or trainer["accelerator"] != "gpu"
        trainer["devices"] = 1 if alone else gpus()


def ranks_here(config: dict) -> int:
    """Processes of this run on this machine."""
    devices = config["trainer"]["devices"]
    return len(devices) if isinstance(devices, list) else int(devices)


def world_size(config: dict) -> int:
    """Processes of this run on all machines."""
    return ranks_here(config) * config["trainer"]["num_nodes"]


def gpus() -> int:
    """NVIDIA devices that CUDA_VISIBLE_DEVICES leaves to us, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len([path for path in Path("/dev").glob("nvidia[0-9]*") if path.name[6:].isdigit()])
