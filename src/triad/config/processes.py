"""How many processes a run has, decided before torch is imported."""

import os
import platform
from math import prod
from pathlib import Path
from typing import Any

from triad.config.errors import Refusal
from triad.config.schema import read_attribute

AXES = ("data_replicate", "data_shard", "context", "expert", "tensor", "pipeline")  # of a mesh
DATA_AXES = ("data_replicate", "data_shard", "expert")  # whose processes read different rows
MOST_THREADS = 1024  # OpenMP dies of a stack that it cannot allocate, without a word
GPUS = Path("/proc/driver/nvidia/gpus")
FAMILIES = (  # what libraries read from the environment that changes kernels, threads or messages
    *("ATEN_", "CUBLAS_", "CUDA_", "DNNL_", "GLOO_", "KMP_", "MKL_", "NCCL_", "NVIDIA_TF32_"),
    *("OMP_", "ONEDNN_", "OPENBLAS_", "PYTORCH_", "TORCH_", "TORCHINDUCTOR_"),
)


def resolve_devices(config: dict) -> None:
    """Replace `auto` in the trainer's accelerator, devices and nodes by what this machine or launcher has."""
    trainer = config["trainer"]
    if trainer["accelerator"] == "auto":
        trainer["accelerator"] = "gpu" if count_gpus() else "cpu"
    if "LOCAL_WORLD_SIZE" in os.environ and "WORLD_SIZE" in os.environ:  # torchrun
        trainer["devices"] = int(os.environ["LOCAL_WORLD_SIZE"])
        trainer["num_nodes"] = int(os.environ["WORLD_SIZE"]) // trainer["devices"]
    elif int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:  # under srun, not merely in an allocation
        trainer["num_nodes"] = int(os.environ.get("SLURM_STEP_NUM_NODES", "1"))
        trainer["devices"] = int(os.environ["SLURM_STEP_NUM_TASKS"]) // trainer["num_nodes"]
    if trainer["devices"] in ("auto", -1, "-1"):  # -1 is Lightning's word for all
        single = read_attribute(config["strategy"]["_target_"], "processes") == 1
        trainer["devices"] = 1 if single or trainer["accelerator"] != "gpu" else count_gpus()
    resolve_degrees(config)


def resolve_degrees(config: dict) -> None:
    """Replace the one -1 among a mesh's degrees by what the others leave of the world, if that is whole."""
    strategy = config["strategy"]
    free = [axis for axis in AXES if strategy.get(axis) == -1]
    if len(free) == 1 and str(config["trainer"]["devices"]).isdigit():
        taken = prod(strategy[axis] for axis in AXES if axis != free[0])
        if taken > 0 and world_size(config) % taken == 0:
            strategy[free[0]] = world_size(config) // taken


def degree(config: dict, axis: str) -> int:
    """Processes along one axis of the mesh; 1 for strategies that have no mesh."""
    return config["strategy"].get(axis, 1)


def data_ranks(config: dict) -> int:
    """Processes that read different rows."""
    if "data_shard" not in config["strategy"]:
        return world_size(config)
    return prod(degree(config, axis) for axis in DATA_AXES)


def fills_the_world(config: dict) -> bool:
    """Whether the degrees of a mesh multiply to the number of processes."""
    degrees = [config["strategy"][axis] for axis in AXES]
    return min(degrees) > 0 and prod(degrees) == world_size(config)


def ranks_here(config: dict) -> int:
    """Processes of this run on this machine."""
    return int(config["trainer"]["devices"])


def world_size(config: dict) -> int:
    """Processes of this run on all machines."""
    return ranks_here(config) * config["trainer"]["num_nodes"]


def count_threads(config: dict) -> int:
    """Compute threads of each process: hardware.threads, else the environment's number, else its share."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    asked = config["hardware"]["threads"] or given.partition(",")[0].strip()
    if asked and not (str(asked).isdecimal() and 1 <= int(asked) <= MOST_THREADS):
        raise Refusal(f"OMP_NUM_THREADS={given}: a number of threads from 1 to {MOST_THREADS}, or unset it")
    return int(asked or max(1, count_cores() // ranks_here(config)))


def describe_layout(layout: dict) -> str:
    """A layout as a checkpoint remembers it, in words: processes, strategy, the axes that are split."""
    strategy, processes = layout["strategy"], layout["processes"]
    split = [f"{axis} {strategy[axis]}" for axis in AXES if strategy.get(axis, 1) != 1]
    split += [f"stage {strategy['stage']}"] if "stage" in strategy else []
    name = strategy["_target_"].rpartition(".")[2]
    words = f"{processes} process{'es' if processes > 1 else ''} of {name}"
    return f"{words} ({', '.join(split)})" if split else words


def count_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_memory_bytes() -> int:
    """Memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def count_gpus() -> int:
    """NVIDIA devices that CUDA_VISIBLE_DEVICES leaves to us, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len([path for path in Path("/dev").glob("nvidia[0-9]*") if path.name[6:].isdigit()])


def ranks_are_here() -> bool:
    """Whether torchrun or srun has already started one process per rank."""
    return "TORCHELASTIC_RUN_ID" in os.environ or int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1


def describe_machine(config: dict) -> dict[str, Any]:
    """System, processor, cores, GPUs by name, and compute threads of a process."""
    return {
        "system": platform.platform(),
        "processor": read_processor(),
        "cores": count_cores(),
        "gpus": read_gpu_names(),
        "threads": count_threads(config),
    }


def read_environment() -> dict[str, str]:
    """Variables of the environment that libraries compute by."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(FAMILIES)}


def read_processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")


def read_gpu_names() -> list[str]:
    """NVIDIA devices of this machine, as their driver calls them."""
    found = (path.read_text().splitlines() for path in sorted(GPUS.glob("*/information")))
    return [line.partition(":")[2].strip() for lines in found for line in lines if line.startswith("Model:")]
