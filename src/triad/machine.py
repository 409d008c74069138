"""The machine that a run is on, found out without torch: what changes the last bits of its figures."""

import os
import platform
from pathlib import Path
from typing import Any

from triad.layout import cores, threads

GPUS = Path("/proc/driver/nvidia/gpus")
# What libraries read from the environment that changes kernels, threads or messages
FAMILIES = ("ATEN_", "CUBLAS_", "CUDA_", "DNNL_", "GLOO_", "KMP_", "MKL_", "NCCL_", "NVIDIA_TF32_")
FAMILIES += ("OMP_", "ONEDNN_", "OPENBLAS_", "PYTORCH_", "TORCH_", "TORCHINDUCTOR_")


def described(config: dict) -> dict[str, Any]:
    """System, processor, cores, GPUs by name, and compute threads of a process."""
    return {
        "system": platform.platform(),
        "processor": processor(),
        "cores": cores(),
        "gpus": gpu_names(),
        "threads": threads(config),
    }


def environment() -> dict[str, str]:
    """Variables of the environment that libraries compute by."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(FAMILIES)}


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")


def gpu_names() -> list[str]:
    """NVIDIA devices of this machine, as their driver calls them."""
    found = (path.read_text().splitlines() for path in sorted(GPUS.glob("*/information")))
    return [line.partition(":")[2].strip() for lines in found for line in lines if line.startswith("Model:")]
