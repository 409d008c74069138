"""What training takes of the machine: memory, and how busy processors and devices are."""

import os
import resource
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import distributed

from triad.hardware.nvml import open_utilisation

PAGES = Path("/proc/self/statm")  # of this process: all, resident, ...


class Resources(Callback):
    """Report memory and utilisation at each report of the metrics.

        perf/memory_bytes          resident memory of a process (RSS), of the one that holds most
        perf/device_memory_bytes   the most that tensors have held of a GPU so far, of the one that held most
        perf/cpu_utilisation       CPU seconds / (seconds * threads of a process), mean over processes
        perf/device_utilisation    share of the time in which a kernel ran on a GPU, mean over processes

    CPU seconds are those since the last report. The last figure needs the package nvidia-ml-py.
    """

    observer = True  # changes no metric of the run: triad.config.identity

    def on_fit_start(self, trainer: Trainer, training: Any) -> None:
        device = trainer.strategy.root_device
        self.device = device if device.type == "cuda" else None
        self.read_device = None
        if self.device:
            self.read_device = open_utilisation(str(torch.cuda.get_device_properties(device).uuid))
        self.since, self.cpu_s = time.perf_counter(), time.process_time()

    def figures(self, trainer: Trainer) -> dict[str, float]:
        """For the metrics callback, at each of its reports and in every process."""
        now, cpu_s = time.perf_counter(), time.process_time()
        busy = (cpu_s - self.cpu_s) / (max(now - self.since, 1e-9) * torch.get_num_threads())
        self.since, self.cpu_s = now, cpu_s
        held = torch.cuda.max_memory_allocated(self.device) if self.device else 0
        used = self.read_device() if self.read_device else -1.0
        device = trainer.strategy.root_device
        processes = _gather([_read_resident_bytes(), held, busy, used], device)
        memory, device_memory, cpu, gpu = zip(*processes, strict=True)
        found = {"perf/memory_bytes": max(memory), "perf/cpu_utilisation": sum(cpu) / len(cpu)}
        if self.device:
            found["perf/device_memory_bytes"] = max(device_memory)
        if min(gpu) >= 0:
            found["perf/device_utilisation"] = sum(gpu) / len(gpu)
        return found


def _read_resident_bytes() -> int:
    """The resident memory of this process; where the system has no /proc (macOS), the most that it had."""
    if PAGES.is_file():
        return int(PAGES.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _gather(values: list[float], device: torch.device) -> list[list[float]]:
    """The values of each process."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [values]
    own = torch.tensor(values, dtype=torch.float64, device=device)
    every = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(every, own)
    return torch.stack(every).tolist()
