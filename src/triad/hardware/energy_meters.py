"""The machine's own energy counters, in joules since an arbitrary moment."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from triad.hardware.nvml import open_energy

Meter = Callable[[], float]
POWERCAP = Path("/sys/class/powercap")


def open_meter(device: torch.device, first_here: bool) -> Meter | None:
    """A meter of the energy assigned to a process, or None where no counter exists or may be read.

    A process with a GPU measures that GPU. Without one, the first process of a machine measures all its
    processors, whoever else is using them, and the others measure nothing.
    """
    if device.type == "cuda":
        return open_energy(str(torch.cuda.get_device_properties(device).uuid))
    found = open_rapl(POWERCAP)
    return found if first_here or found is None else float


def open_rapl(powercap: Path) -> Meter | None:
    """Running average power limit: the counters of all processor packages of this machine (Linux).

    Most systems let only root read them (CVE-2020-8694).
    """
    packages = sorted(powercap.glob("intel-rapl:[0-9]*"))  # those of AMD bear this name, too
    zones = [zone for zone in packages if zone.name.count(":") == 1 and _name(zone).startswith("package")]
    try:
        counters = [partial(_microjoules, zone / "energy_uj") for zone in zones]
        wrap = [_microjoules(zone / "max_energy_range_uj") for zone in zones]
        last = [counter() for counter in counters]
    except OSError:
        return None
    total = 0

    def read() -> float:
        nonlocal total
        for index, counter in enumerate(counters):
            now = counter()
            total += (now - last[index]) % (wrap[index] + 1)  # it starts again from 0
            last[index] = now
        return total / 1e6

    return read if zones else None


def _name(zone: Path) -> str:
    file = zone / "name"
    return file.read_text().strip() if file.is_file() else ""


def _microjoules(path: Path) -> int:
    return int(path.read_text())
