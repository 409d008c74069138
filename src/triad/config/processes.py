"""How many processes a run has, decided before torch is imported."""

import os
import platform
import re
from collections.abc import Mapping
from itertools import takewhile
from math import prod
from pathlib import Path
from typing import Any

from triad.config.errors import Refusal
from triad.config.schema import read_attribute

AXES = ("data_replicate", "data_shard", "context", "expert", "tensor", "pipeline")  # of a mesh
DECIDED = (  # keys that the machine or the launcher may decide
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes"),
    *(f"strategy.{axis}" for axis in AXES),
)
DATA_AXES = ("data_replicate", "data_shard", "expert")  # whose processes read different rows
MOST_THREADS = 1024  # OpenMP dies of a stack that it cannot allocate, without a word
GPUS = Path("/proc/driver/nvidia/gpus")
TORCHRUN = "TORCHELASTIC_RUN_ID"  # a variable of each process that it starts
SRUN = "SLURM_STEP_NUM_TASKS"
OURS = "TRIAD_LAUNCHED"  # of what our own launcher starts; a run that is started there is one of its own
RANK_VARIABLES = (
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    *("MASTER_ADDR", "MASTER_PORT"),
)
FIRST_PORT = 15_000  # of a job of SLURM's
FAMILIES = (  # what libraries read from the environment that changes kernels, threads or messages
    *("ATEN_", "CUBLAS_", "CUDA_", "DNNL_", "GLOO_", "KMP_", "MKL_", "NCCL_", "NVIDIA_TF32_"),
    *("OMP_", "ONEDNN_", "OPENBLAS_", "PYTORCH_", "TORCH_", "TORCHINDUCTOR_"),
)


def resolve_devices(config: dict) -> None:
    """Replace `auto` in the trainer's accelerator, devices and nodes by what this machine or launcher has."""
    trainer = config["trainer"]
    if trainer["accelerator"] == "auto":
        trainer["accelerator"] = "gpu" if count_gpus() else "cpu"
    if TORCHRUN in os.environ:
        trainer["devices"] = int(os.environ["LOCAL_WORLD_SIZE"])
        trainer["num_nodes"] = int(os.environ["WORLD_SIZE"]) // trainer["devices"]
    elif ranks_are_here():
        trainer["devices"], trainer["num_nodes"] = _count_srun_tasks()
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


def describe_single_process(config: dict, choices: Mapping[str, Any]) -> str:
    """What to type where a strategy for several processes has one, or ""."""
    if world_size(config) > 1 or read_attribute(config["strategy"]["_target_"], "processes") == 1:
        return ""
    rehearsal = "trainer.devices=auto" if count_gpus() > 1 else "trainer.devices=2 trainer.accelerator=cpu"
    if ranks_are_here():
        rehearsal = "torchrun --nproc-per-node=2"
    name = choices.get("strategy") or config["strategy"]["_target_"].rpartition(".")[2]
    return f"strategy={name}: one process shards nothing; {rehearsal} rehearses it"


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
    return len(list_gpus())


def list_gpus() -> list[str]:
    """NVIDIA devices, as CUDA_VISIBLE_DEVICES names them.

    CUDA looks no further than the first word that is no index or of the other kind, and shows nothing at all
    where one comes twice.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        devices = [path for path in Path("/dev").glob("nvidia[0-9]*") if path.name[6:].isdigit()]
        return [str(number) for number in range(len(devices))]
    words = [word.strip() for word in visible.split(",")]
    kind = next((kind for kind in ("GPU-", "MIG-") if words[0].startswith(kind)), "")
    names = [*takewhile(lambda word: word.startswith(kind) if kind else word.isdecimal(), words)]
    return names if len({*names}) == len(names) else []


def ranks_are_here() -> bool:
    """Whether torchrun or srun has already started one process per rank."""
    return TORCHRUN in os.environ or int(os.environ.get(SRUN, "1")) > 1


def _count_srun_tasks() -> tuple[int, int]:
    """The tasks of each node, and the nodes, of an srun."""
    tasks, nodes = int(os.environ[SRUN]), int(os.environ.get("SLURM_STEP_NUM_NODES", "1"))
    if tasks % nodes:
        raise Refusal(f"srun: {tasks} tasks on {nodes} nodes: give each node as many, with --ntasks-per-node")
    return tasks // nodes, nodes


def refuse_unknown_launcher() -> None:
    """Refuse a process that another launcher than torchrun, srun or ours has started as one of several."""
    world = os.environ.get("WORLD_SIZE", "1")
    if ranks_are_here() or OURS in os.environ or world == "1":
        return
    rank, host = os.environ.get("RANK", "R"), os.environ.get("MASTER_ADDR", "HOST")
    raise Refusal(
        f"WORLD_SIZE={world} in the environment makes this one process of several, but neither torchrun nor"
        f" srun has started it: use torchrun --nnodes={world} --node-rank={rank} --nproc-per-node=gpu"
        f" --master-addr={host} --master-port={os.environ.get('MASTER_PORT', 'PORT')} train.py, or unset"
        " WORLD_SIZE to train alone"
    )


def without_launcher(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without the variables by which a launcher makes a process one of several."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(("SLURM_", "TORCHELASTIC_")) and name not in RANK_VARIABLES
    }


def set_slurm_variables() -> None:
    """Set in a task of srun what our own launcher sets for a rank, so that Lightning takes it for one.

    Its plugin for SLURM, which SLURM_NTASKS brings, wants --ntasks-per-node and requeues jobs by itself.
    """
    if TORCHRUN in os.environ or not ranks_are_here():
        return
    tasks, nodes = _count_srun_tasks()
    local, node = int(os.environ["SLURM_LOCALID"]), int(os.environ["SLURM_NODEID"])
    job, step = (int(os.environ.get(name, "0")) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    named = {
        "RANK": node * tasks + local,
        "LOCAL_RANK": local,
        "NODE_RANK": node,
        "WORLD_SIZE": nodes * tasks,
        "LOCAL_WORLD_SIZE": tasks,
        "MASTER_ADDR": os.environ.get("MASTER_ADDR") or _find_first_host(),
        "MASTER_PORT": os.environ.get("MASTER_PORT") or FIRST_PORT + (job + step) % 10_000,
    }
    os.environ |= {name: str(value) for name, value in named.items()}
    os.environ.pop("SLURM_NTASKS", None)


def _find_first_host() -> str:
    """The first of SLURM's list of nodes, such as gpu[07-09,12],login1."""
    nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_NODELIST", "127.0.0.1")
    found = re.match(r"([^\[,]+)(?:\[([^\],-]+)[^\]]*\])?([^,]*)", nodes)
    return "".join(part or "" for part in found.groups()) if found else nodes


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
