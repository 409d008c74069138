"""What NVIDIA's management library counts of a GPU, with the package nvidia-ml-py."""

import importlib
from collections.abc import Callable
from typing import Any

Read = Callable[[], float]


def open_gpu(uuid: str, count: Callable[[Any, Any], float]) -> Read | None:
    """Reads `count(library, gpu)`; None without the package, or where this GPU does not count that."""
    try:
        library: Any = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        library.nvmlInit()
        gpu = library.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        count(library, gpu)
    except library.NVMLError:
        return None
    return lambda: count(library, gpu)


def open_energy(uuid: str) -> Read | None:
    """Joules since an arbitrary moment (Volta or newer)."""
    return open_gpu(uuid, lambda library, gpu: library.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1e3)


def open_utilisation(uuid: str) -> Read | None:
    """The share of the last sample period, up to a second, in which a kernel was running; not under MIG."""
    return open_gpu(uuid, lambda library, gpu: library.nvmlDeviceGetUtilizationRates(gpu).gpu / 100)
